"""A dependency that may be missing may be missing.

recommendations has no pod at all. The front page comes without it; only who asks for recommendations themselves
would know. The control holds the same run to what recommendations itself promises, which nobody can keep then.

Guards: frontend's fallback (annotation standin.harness.local/fallback); VirtualService recommendations,
spec.http[].timeout. Evidence: the number of pods.
"""

from harness import SLO, BlastRadius, Experiment, Load, Scale, Target, Verdict, availability

PAGE = SLO("the front page comes", availability("frontend", namespace="shop"), at_least=0.98)
RECOMMENDED = SLO("recommendations come", availability("recommendations", namespace="shop"), at_least=0.98)


def experiment(promise):
    return Experiment(
        hypothesis=[promise],
        target=Target("recommendations", namespace="shop"),
        fault=Scale(0),
        load=Load("browse", rate=200, paths=("/",)),
        blast_radius=BlastRadius(max_pods=1),
        guards=(),
    )


def test_the_front_page_comes_without_recommendations(run):
    run(experiment(PAGE))


def test_recommendations_do_not(run):
    run(experiment(RECOMMENDED), expect=Verdict.VIOLATED)
