"""What Litestar hands to a handler by name, once more as types."""

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from edge.domain.owner import Caller
from edge.services import Services

GivenServices = NamedDependency[SkipValidation[Services]]
GivenCaller = NamedDependency[SkipValidation[Caller]]
