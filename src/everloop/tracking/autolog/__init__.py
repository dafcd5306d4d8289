"""One line that makes the libraries' own calls into runs: `autolog()`.

    import everloop as ev
    ev.autolog()
    LogisticRegression(C=0.1).fit(X, y)      # a run with parameters, metrics, the model and its data

Three promises, each under test. **It never changes a result**: what a library returns, raises and predicts is what it would have
been, bit for bit; the states of random generators are put back after anything that is done beside the training. **It never
raises** into the user's code: a failure in here is one warning. **It can be undone**: ``autolog(disable=True)`` leaves every
library as it was.

    options.py      what the user has chosen
    patches.py      replacing functions of libraries, those too that are imported later, and putting them back
    session.py      a training that is being recorded: which run it belongs to, what it says, how it ends
    scikit.py       estimators, pipelines, searches with their candidates as child runs, metrics after the training
    boosting.py     xgboost and lightgbm
    keras.py        keras
    loops.py        a callback for training loops of one's own, as torch has them
"""

from everloop.tracking.autolog.enabling import autolog as autolog
from everloop.tracking.autolog.loops import TrainingLog as TrainingLog
