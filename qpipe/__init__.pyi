from qpipe import errors as errors
from qpipe.errors import QpipeError as QpipeError
from qpipe.published.reproduction import Reproduction as Reproduction
from qpipe.results.comparison import Comparison as Comparison
from qpipe.session.advising.function import advise as advise
from qpipe.session.attesting.function import attest as attest
from qpipe.session.check import check as check
from qpipe.session.estimating.function import estimate as estimate
from qpipe.session.forecasts import RunPlan as RunPlan
from qpipe.session.functions import convert as convert
from qpipe.session.functions import inspect as inspect
from qpipe.session.functions import perplexity as perplexity
from qpipe.session.functions import quantize as quantize
from qpipe.session.reproducing.function import repro as repro
from qpipe.session.session import Session as Session
from qpipe.session.session import load as load
from qpipe.session.session import open_run as open_run
from qpipe.session.store import Store as Store

__all__: list[str]
__version__: str
