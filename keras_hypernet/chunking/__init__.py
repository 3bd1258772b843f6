"""Which chunks a target is generated in, and where their parts go."""

from keras_hypernet.chunking.chunk_plan import ChunkPlan as ChunkPlan
from keras_hypernet.chunking.chunkings import resnet_chunking as resnet_chunking
from keras_hypernet.chunking.chunkings import wide_resnet_chunking as wide_resnet_chunking
from keras_hypernet.chunking.planner import plan_chunks as plan_chunks
