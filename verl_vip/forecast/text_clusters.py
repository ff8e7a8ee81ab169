"""Clusters of prompts by their words, where no labels are recorded."""

from collections.abc import Sequence

import numpy as np

#: As many clusters as `balanced_clusters` draws evenly over, and so many prompts for each of them at least.
_CLUSTERS, _PROMPTS_EACH = 32, 40
_COMPONENTS = 32
#: Words in more than this share of the prompts, such as those of a chat template, tell nothing.
_COMMON = 0.5
_WORDS_IN_NAME = 3


def cluster_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the cluster of each of `P` texts, named by its most characteristic words.

    The clusters are k-means clusters of principal components of word counts (TF-IDF), which need no model.

    Args:
        texts: `P` texts of prompts.

    Returns:
        `P` names; empty if there are too few texts or words for two clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    count = min(_CLUSTERS, len(texts) // _PROMPTS_EACH)
    if count < 2:
        return ()
    try:
        vectorizer = TfidfVectorizer(min_df=2, max_df=_COMMON, max_features=20_000, sublinear_tf=True)
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no word is in two texts and not in most of them
        return ()
    if weights.shape[1] <= _COMPONENTS:
        return ()
    points = TruncatedSVD(_COMPONENTS, random_state=0).fit_transform(weights)
    member = KMeans(count, n_init=1, max_iter=50, random_state=0).fit_predict(points)
    words = vectorizer.get_feature_names_out()
    names = []
    for cluster in range(count):
        mean = np.asarray(weights[member == cluster].mean(axis=0)).ravel()
        names.append(f"{cluster + 1}: {', '.join(words[np.argsort(-mean)[:_WORDS_IN_NAME]])}")
    return tuple(names[row] for row in member)
