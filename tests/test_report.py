"""What people get to see: the page, the table, the chart and the lines, all from the journal alone."""

import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from rich.console import Console

from harness import chart, journal, report
from harness.errors import HarnessError
from harness.journal import Journal, Objective
from harness.progress import Lines, follow

NASTY = 'a<b>&"c"'


def course(name="test_x", *, bad=0, expected="HELD", weakened=()):
    """The journal of a run of a minute."""
    up = Objective(NASTY, 0.95, 100)
    yield journal.RunStarted(
        at=100.0, run="r-1", name=name, target="shop/payments", fault="abort 503 30%", weakened=weakened,
        objectives=(up,), guardrails=(), confidence=0.99, recover_within=30.0, load="browse 100/s", seed=7,
        versions=("mesh-harness 0.1.0",), api="https://a", entry="http://b", prometheus="http://c", expected=expected,
    )  # fmt: skip
    yield journal.PhaseStarted(100.0, "resolve")
    yield journal.Resolved(100.1, ("payments-1",), "share", 30.0)
    yield journal.PhaseEnded(100.1, "resolve")
    yield journal.PhaseStarted(101.0, "inject")
    yield journal.Injected(101.5, ("create EnvoyFilter shop/harness-r-1",))
    yield journal.PhaseEnded(102.0, "inject")
    yield journal.PhaseStarted(102.0, "observe")
    for second in range(1, 11):
        total = second * 100
        yield journal.Counted(
            102.0 + second, NASTY, "observe", total - bad * second, total, 102.0, 102.0 + second
        )
    yield journal.ShareSeen(112.0, "observe", 300, 1000)
    yield journal.PhaseEnded(112.0, "observe")
    yield journal.PhaseStarted(112.0, "revert")
    yield journal.Reverted(112.1, "fault", ("EnvoyFilter shop/harness-r-1 deleted",), (), ())
    yield journal.PhaseEnded(112.2, "revert")
    yield journal.PhaseStarted(112.2, "recover")
    yield journal.Recovered(114.0, 1.5)
    yield journal.PhaseEnded(114.0, "recover")
    yield journal.LoadReported(114.5, 1400, 3, 0.012, 0.034, 5, 100.0)


def write(directory, number, events):
    """A journal file as a session leaves it."""
    with Journal(directory / f"{number:03}-x.jsonl") as written:
        for event in events:
            written.write(event)


@pytest.fixture
def session(tmp_path):
    """A session of three runs: held, violated as expected, violated unexpectedly."""
    directory = tmp_path / "reports" / "run-1"
    write(directory, 1, course())
    write(
        directory, 2, course("test_y", bad=40, expected="VIOLATED", weakened=("patch VirtualService shop/x",))
    )
    write(directory, 3, course("test_z", bad=40))
    return directory


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.external = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.external += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith("#")
        ]


def test_the_page_needs_no_other_file_and_shows_every_phase(session):
    """Table, phases as headings, reasons, numbers and a chart per run."""
    page = report.write(session).read_text()
    seen = _Page()
    seen.feed(page)
    assert seen.external == []
    assert seen.tags.count("svg") == seen.tags.count("section") == 3
    headings = re.findall(r"<h3>(\w+)</h3>", page)
    assert headings[:6] == ["resolve", "inject", "observe", "revert", "recover", "judge"]
    for fact in (
        "payments-1",
        "create EnvoyFilter",
        "harness-r-1 deleted",
        "recovered after 1.5 s",
        "600 of 1,000",
        "1,400 requests at 100/s",
    ):
        assert fact in page
    assert page.count('class="unexpected"') == 1


def test_whatever_a_name_holds_stays_text(session):
    """Markup in names is shown, not interpreted."""
    page = report.write(session).read_text()
    assert NASTY not in page
    assert "a&lt;b&gt;" in page


def test_latest_points_to_the_session_written_last(session):
    """The link moves on, and never points nowhere."""
    report.write(session)
    latest = session.parent / "latest"
    assert latest.resolve() == session
    other = session.parent / "run-2"
    write(other, 1, course())
    report.write(other)
    assert latest.resolve() == other


def test_a_report_that_cannot_be_written_is_one_sentence(session):
    """A directory in the place of the page names it."""
    (session / "index.html").mkdir()
    with pytest.raises(HarnessError, match=r"Cannot write the report .*index\.html"):
        report.write(session)


def test_a_journal_without_a_run_is_one_sentence(tmp_path):
    """An empty file names itself, and does not keep the others from being shown."""
    (tmp_path / "001-x.jsonl").write_text("")
    write(tmp_path, 2, course())
    with pytest.raises(HarnessError, match="holds no run"):
        report.Outcome.of(tmp_path / "001-x.jsonl")
    assert [one.started.name for one in report.outcomes(tmp_path)] == ["test_x"]


def test_the_table_shows_verdict_expectation_numbers_and_evidence(session):
    """One row per run."""
    out = io.StringIO()
    Console(file=out, width=200).print(report.table(report.outcomes(session)))
    rows = [line for line in out.getvalue().splitlines() if re.match(r"│ [xyz]\b", line)]
    assert len(rows) == 3
    assert re.search(r"x.*abort 503 30%.*intact.*HELD.*HELD.*100\.000 % of 1,000.*asked 30 %.*14\.5", rows[0])
    assert re.search(r"y.*weakened.*VIOLATED.*VIOLATED.*60\.000 %", rows[1])


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("test_a_pod_dies[abort 503 30%]", "a pod dies"),
        ("test_a_pod_dies[abort 503 30%] #2", "a pod dies #2"),
        ("test_a_pod_dies[big_one]", "a pod dies[big_one]"),
    ],
)
def test_a_run_is_called_what_its_test_says(tmp_path, name, title):
    """Words instead of underscores; the fault has a column of its own."""
    write(tmp_path, 1, course(name))
    (one,) = report.outcomes(tmp_path)
    assert one.title == title


def test_the_chart_is_well_formed_and_holds_a_line_per_slo():
    """Any SVG viewer can read it; phases are shaded."""
    svg = ET.fromstring(chart.draw(tuple(course(bad=1))))  # noqa: S314 - our own
    assert len(svg.findall(".//{*}polyline")) == 2
    shaded = {title.text for title in svg.findall(".//{*}rect/{*}title")}
    assert shaded == {"inject", "observe", "revert", "recover"}


def test_a_chart_of_nothing_says_so():
    """A run without counts has a picture too."""
    assert "No event was counted" in chart.draw(())


def test_points_are_what_happened_between_two_looks():
    """Counts are cumulative within a phase, and begin again in the next one; looks without events are merged."""

    def counted(phase, good, total, start, end):
        return journal.Counted(end, "up", phase, good, total, start, end)

    found = chart.points(
        (
            counted("gate", 10, 10, 0.0, 1.0),
            counted("gate", 10, 10, 0.0, 2.0),
            counted("gate", 25, 30, 0.0, 3.0),
            counted("gate", None, None, 0.0, 3.5),
            counted("observe", 8, 16, 4.0, 6.0),
        ),
        "up",
    )
    assert found == (chart.Point(1.0, 1.0, 10.0), chart.Point(3.0, 0.75, 10.0), chart.Point(6.0, 0.5, 8.0))


def test_off_a_terminal_each_phase_is_one_line_when_it_is_over():
    """A log of a build shows what was seen last in each phase."""
    out = io.StringIO()
    with follow("test_x: nothing", out) as view:
        assert isinstance(view, Lines)
        view.phase("gate")
        view.progress(0.1, "availability: no events")
        view.progress(0.9, "availability 100.00% of 60")
        view.phase("observe")
    lines = out.getvalue().splitlines()
    assert lines[0] == "test_x: nothing"
    assert re.fullmatch(r"  gate +\d+\.\d s  availability 100\.00% of 60", lines[1])
    assert re.fullmatch(r"  observe +\d+\.\d s", lines[2])


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_each_phase_is_a_bar(monkeypatch):
    """With the phase, how far it is and what is seen; markup in it stays text."""
    monkeypatch.setenv("TERM", "xterm")
    out = _Terminal()
    with follow("test_x: nothing", out) as view:
        view.phase("observe")
        view.progress(0.5, "availability [bold] 99.98%")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "observe" in text
    assert "availability [bold] 99.98%" in text
