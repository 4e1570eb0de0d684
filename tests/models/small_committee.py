"""A committee of every kind of member that is fitted in no time."""

from jaxflow.models import MAF, CommitteeMember, CommitteeSpec, GaussianMixtureSpec, KernelDensitySpec

FLOW = MAF(layers=1, hidden=(8,))
SMALL_COMMITTEE = CommitteeSpec(
    members=(
        CommitteeMember(model=KernelDensitySpec(), weight=2),
        CommitteeMember(model=KernelDensitySpec(), view="rank_gaussian"),
        CommitteeMember(model=GaussianMixtureSpec(components=2)),
        CommitteeMember(model=FLOW, voice="flows", weight=0.5),
        CommitteeMember(model=FLOW, view="rank_gaussian", voice="flows", weight=1.5),
        CommitteeMember(model=FLOW, view="rank_gaussian"),
        CommitteeMember(model=GaussianMixtureSpec(components=2), view="arcsinh"),
    )
)
