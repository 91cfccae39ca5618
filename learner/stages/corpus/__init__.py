"""The data of the supervised stages: documents, or examples, as tokens on disk that any step is found in."""

from __future__ import annotations

from learner.stages.corpus.corpus import Corpus, CorpusSummary, SourceSummary
from learner.stages.corpus.errors import CorpusError
from learner.stages.corpus.preparation import check_sources, prepare

__all__ = ["Corpus", "CorpusError", "CorpusSummary", "SourceSummary", "check_sources", "prepare"]
