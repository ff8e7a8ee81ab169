"""Texts are clustered by their words, and clusters that differ in difficulty are noticed."""

from pathlib import Path

import numpy as np
import pytest

from verl_vip.forecast.forecast import make_forecast
from verl_vip.forecast.lines import forecast_lines
from verl_vip.forecast.text_clusters import cluster_texts
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, SourceKind

WORDS = {
    "geometry": ["triangle", "circle", "angle", "area", "radius", "square", "tangent", "chord", "polygon", "side"],
    "algebra": ["equation", "root", "factor", "sum", "product", "integer", "prime", "digit", "series", "power"],
}


def text_of(topic, rng):
    numbers = " ".join(str(number) for number in rng.integers(100, size=3))
    return f"user\nFind the {' '.join(rng.choice(WORDS[topic], 6))} {numbers}\nassistant"


def test_topics_are_told_apart():
    rng = np.random.default_rng(0)
    topics = [list(WORDS)[row % 2] for row in range(200)]
    clusters = cluster_texts([text_of(topic, rng) for topic in topics])
    for cluster in set(clusters):
        inside = [topic for topic, mine in zip(topics, clusters, strict=True) if mine == cluster]
        assert max(inside.count(topic) for topic in WORDS) > 0.9 * len(inside)


@pytest.mark.parametrize("texts", [[], [""] * 200, ["same words"] * 200, ["a b"] * 3, [str(row) for row in range(200)]])
def test_texts_without_different_words_have_no_clusters(texts):
    assert cluster_texts(texts) == ()


@pytest.mark.parametrize("labelled", [False, True])
def test_clusters_stand_in_for_missing_labels(labelled):
    rng = np.random.default_rng(0)
    builder = OutcomeBuilder(KeyKind.TEXT)
    for row in range(300):
        topic = list(WORDS)[row % 2]
        won = int(rng.binomial(8, 0.9 if topic == "algebra" else 0.2))
        builder.add(str(row), 1, won, 8, 0 < won < 8, topic if labelled else "", text_of(topic, rng))
    forecast = make_forecast(builder.source(Path("p"), SourceKind.DUMPS, ()))
    assert forecast.clustered is not labelled
    assert forecast.labels.share.value > 0.8
    assert ("clusters of the texts" in dict(forecast_lines(forecast))["labels"]) is not labelled
