from .augmentation.augmenting import augment_dataset as augment_dataset
from .augmentation.transform import MagicalTransform as MagicalTransform
from .defects import DefectBank as DefectBank
from .evaluation.evaluating import evaluate as evaluate
from .grid import Grid as Grid
from .hub.pushing import push as push
from .models import LabelVerifier as LabelVerifier
from .models import MagicalCritic as MagicalCritic
from .models import MagicalGenerator as MagicalGenerator
from .models import SeamlessGenerator as SeamlessGenerator
from .models.base import ModelMixin as ModelMixin  # diffusers looks for it next to our components
from .pipeline import MagicalPipeline as MagicalPipeline
from .training import TrainingConfig as TrainingConfig
from .training import train as train

__version__: str
