"""The page in Chromium: it opens, filters, walks, plays and explains, whatever models have written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from actors.messages import SampleRequest
from orchestrator.budget.units import in_flops
from orchestrator.explore.description import Explored, Tree
from orchestrator.explore.page import write
from orchestrator.problems.codec import Codec
from orchestrator.problems.problem import Problem
from orchestrator.runs.times import Taken, TimesFile
from orchestrator.search.context import Sampling
from tests.support.browser import CHROMIUM, Watched, browsed
from tests.support.explored import reader, searched
from tests.support.scripted import EOS, POLICY, Characters, ScriptedEngine, letters

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script><!-- $ {{7*7}} javascript:alert(3)"
ODD = {
    "hostile": HOSTILE,
    "formula": r"so $x^2 = \frac{1}{2}$, and \[ \sum_{i=1}^n i \] but $5 and $6;"
    r" $\href{javascript:alert(4)}{x}$",
    "right-to-left": "שלום עולם 123\nمرحبا بالعالم",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 \u202eabc\u202c",
    "code": "if a < b && c > d:\n\treturn '&lt;b&gt;'",
    "long": "0123456789" * 5000,
}
STEPS = {name: text.replace("\n", "\v") for name, text in ODD.items()}
PROBLEMS = [Problem(name, f"{name}: {text[:300]}?", f"2{text}\nb") for name, text in STEPS.items()]
AGAIN = "done again: generator-0 was lost with it"
LONG = {"sampling": Sampling(max_step_tokens=60_000, max_tokens=200_000)}


def odd(request, text, rng) -> str:
    """Copies the problem's odd text after a digit, then ends in a letter: 2 and b are right."""
    end = f"{rng.choice('ab')}{EOS}"
    if text.rpartition("?")[2]:
        return end
    step = f"{rng.choice('123')}{STEPS[text.partition(':')[0]]}\n"
    return step + end if request.until == "end" else step


class Dollars(Characters):
    """Only the last ``$`` ends a sequence: others are money."""

    def decode(
        self, ids: list[int], skip_special_tokens: bool, clean_up_tokenization_spaces: bool = False
    ) -> str:
        text = "".join(map(chr, ids))
        return text.removesuffix(EOS) if skip_special_tokens else text


CODEC = Codec(Dollars(), "\n")


def judge(text: str) -> float:
    said = text.rpartition("?")[2]
    return (0.8 if said[0] == "2" else 0.1) + (0.1 if said.endswith(f"b{EOS}") else 0.0)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the runs ``beam``, ``best`` and ``policy``, of the odd problems, and ``chains``, of two others."""
    root = tmp_path_factory.mktemp("explored")

    async def search() -> None:
        engine = ScriptedEngine(odd, judge)
        options = {"problems": PROBLEMS, "budget": 10**15, "context": LONG, "codec": CODEC}
        await searched(root / "beam", "beam_search", engine, n=8, width=2, **options)
        await searched(root / "best<b>", "best_of_n", engine, n=1, **options)
        await searched(root / "chains", "revisions", n=8, length=4)
        engine = ScriptedEngine(letters(2), lambda text: 0.9 if text.startswith("code") else 0.25)
        await searched(root / "policy", "compute_optimal", engine, policy=POLICY, **options)

    asyncio.run(search())
    return root


class Written:
    """A page with what it was written from."""

    def __init__(self, directory: Path, *runs: str) -> None:
        self.path = directory / f"{'-'.join(runs)}.html"
        strategies = {"beam": "beam_search", "chains": "revisions"}
        readers = [reader(directory / run, strategies.get(run, "best_of_n"), CODEC) for run in runs]
        self.explored: list[Explored] = write(readers, self.path)
        self.trees: list[Tree] = [*reader(directory / runs[0], codec=CODEC).trees()]

    def tree(self, problem: str) -> Tree:
        return next(tree for tree in self.trees if tree.problem == problem)


@pytest.fixture(scope="module")
def written(directory: Path) -> Written:
    return Written(directory, "beam", "best<b>")


@pytest.fixture(scope="module")
def watched(directory: Path) -> Iterator[Watched]:  # the driver has a loop of its own: first the searches
    with browsed() as page:
        yield page


@pytest.fixture
def page(watched: Watched, written: Written) -> Iterator[object]:
    """The page, opened anew, which must have found no fault and asked for nothing when the test is done."""
    watched.faults.clear()
    watched.requests.clear()
    watched.page.goto("about:blank")
    watched.requests.clear()
    watched.open(written.path)
    yield watched.page
    assert watched.faults == []
    assert watched.requests == []


def go(page, problem: str, tab: str = "search", run: int = 0) -> None:
    page.click(f".rows a[data-problem='{problem}']")
    page.wait_for_selector(f"#problem[data-ready^='{run} {problem} ']")
    page.click(f"[data-tab={tab}]")
    page.wait_for_selector(f"#problem[data-ready='{run} {problem} {tab}']")


def test_it_lists_filters_and_compares_runs(page, written: Written):
    rows = page.locator(".rows li")
    assert rows.count() == len(PROBLEMS)
    page.keyboard.press("/")
    page.keyboard.type("hostile")
    assert rows.count() == 1
    assert HOSTILE[:20] in rows.text_content()
    page.fill("#filter", "")
    beam, best = written.explored
    right = [
        a.problem for a, b in zip(beam.rows, best.rows, strict=True) if a.correct[0] and not b.correct[0]
    ]
    assert right  # one sample does not find what eight do
    page.select_option("#list select >> nth=0", "pair 0 1")
    assert [link.get_attribute("data-problem") for link in rows.locator("a").all()] == right
    page.select_option("#list select >> nth=0", "wrong")
    assert rows.count() == sum(not row.correct[0] for row in beam.rows)


def test_the_tree_shows_every_thought_once_and_the_way_to_the_chosen_answer(page, written: Written):
    go(page, "code")
    tree = written.tree("code")
    distinct = [node for node in tree.nodes if node.fate != "copy"]
    nodes = page.locator(".tree .node")
    assert nodes.count() == len(distinct) < len(tree.nodes)
    page.select_option(".pane select", "all")
    assert nodes.count() == len(tree.nodes)
    ending = tree.endings[tree.rules[0].chosen]
    chosen = {node.get_attribute("data-path") for node in page.locator(".tree .node.chosen").all()}
    assert chosen == {ending.path, ending.path.rpartition(".")[0]}
    assert page.locator(".tree .node.picked").get_attribute("data-path") == ending.path  # it is read first


def test_it_is_walked_by_keys_and_shows_what_was_written(page, written: Written):
    go(page, "code")
    page.keyboard.press("t")
    page.keyboard.press("ArrowLeft")
    picked = page.locator(".tree .node.picked").get_attribute("data-path")
    assert "." not in picked
    node = next(node for node in written.tree("code").nodes if node.path == picked)
    assert page.locator(".own .prose").text_content() == node.pieces[0].text
    page.locator(f".node[data-path='{picked}'] .body").hover()
    page.wait_for_selector("#tip b", state="attached")
    assert node.pieces[0].text[:8] in page.locator("#tip").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator(".tree .node.picked").get_attribute("data-path").startswith(f"{picked}.")


def test_it_plays_what_happened_in_its_order(page, written: Written):
    go(page, "code")
    total = len(written.tree("code").events)
    slider = page.locator(".player input")
    assert slider.get_attribute("max") == str(total)
    slider.fill("0")
    assert page.locator(".tree .unborn.node").count() == page.locator(".tree .node").count() > 1
    slider.fill("1")
    assert page.locator(".tree .node:not(.unborn)").count() == 1
    assert page.locator(".now").text_content().startswith(f"1 of {total} operations · sample ")
    slider.fill(str(total))
    page.locator("#problem h2").click()
    page.keyboard.press("Space")
    assert "pause" in page.locator(".play").text_content()
    page.wait_for_timeout(300)
    moved = int(slider.input_value())
    assert 0 <= moved < total
    page.keyboard.press("Space")
    assert "play" in page.locator(".play").text_content()


def test_it_tells_why_and_what_it_cost(page, written: Written):
    go(page, "emoji", "why")
    tree = written.tree("emoji")
    rule = tree.rules[0]
    assert page.locator(".ballots tbody tr").count() == len(rule.votes)
    assert tree.answers[rule.answer] in page.locator(".lead").text_content()
    assert page.locator(".mark-a").count() == len(tree.endings[rule.chosen].step_scores)
    assert page.locator(".mark-b").count() == len(tree.endings[rule.rival].step_scores)
    page.click("[data-tab=money]")
    charged = sum(cost.generator + cost.verifier for cost in tree.costs)
    (row,) = (row for row in written.explored[0].rows if row.problem == "emoji")
    assert row.flops == charged
    assert "all that was charged" in page.locator(".money").text_content()
    page.click("[data-tab=time]")
    assert page.locator(".lanes .op").count() == len(tree.events)
    assert page.locator(".clock").count() == 0, "no times were kept"
    assert "of an operation without a time it is not known" in page.locator(".time").text_content()


@pytest.mark.parametrize("name", sorted(ODD))
def test_what_was_written_is_shown_as_it_is_and_never_executed(page, written: Written, name: str):
    if name == "formula":
        page.select_option(".title select >> nth=1", "raw")
    go(page, name)
    node = written.tree(name).nodes[0]
    page.locator(f".node[data-path='{node.path}'] .body").click()
    shown = page.locator(".own .prose")
    assert shown.text_content() == node.pieces[0].text
    assert STEPS[name] in shown.text_content()
    assert page.locator("img, iframe, object, script[src]").count() == 0
    assert page.evaluate("document.scripts.length") == page.locator("script").count()


def test_formulas_are_rendered_and_money_is_not_one(page, written: Written):
    go(page, "formula")
    node = written.tree("formula").nodes[0]
    page.locator(f".node[data-path='{node.path}'] .body").click()
    assert page.locator(".own math").count() == 3  # the link is drawn as an error, and leads nowhere
    assert "but $5 and $6;" in page.locator(".own .prose").text_content()
    assert page.locator(".own a").count() == 0


@pytest.fixture(scope="module")
def timed(directory: Path) -> Written:
    """The page of the run ``chains``, whose times are kept: each operation is sent a second after the one
    before it and is back after two; the first has waited for half a second, and the second is done again."""
    with reader(directory / "chains", codec=CODEC) as run:
        recorded = [key for key, *_ in run._journal.results("p")]
    taken = Taken()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", lambda: 0.5)
        taken.note("generator-0", [SampleRequest(recorded[0], (1,), 1, 7)])
        for replica in ("generator-0", "generator-1"):  # the second one was lost with its replica
            taken.note(replica, [SampleRequest(recorded[1], (1,), 1, 7)])
    times = {key: (float(at), float(at + 2)) for at, key in enumerate(recorded)}
    TimesFile(directory / "chains", taken).add("p", times)
    return Written(directory, "chains")


def test_operations_stand_where_they_were_in_time(watched: Watched, timed: Written):
    tree = timed.tree("p")
    assert [(event.sent, event.lasted) for event in tree.events] == [
        (1000 * at, 2000) for at in range(len(tree.events))
    ]
    watched.faults.clear()
    watched.open(timed.path, "#problem=p&tab=time")
    waited = watched.page.locator(".clock .op.waited")
    assert waited.count() == 1, "it is known of the first, and the second did not wait"
    first = watched.page.locator(".clock .op:not(.waited)").first
    begin, width = (float(waited.get_attribute(name)) for name in ("x", "width"))
    assert float(first.get_attribute("x")) == pytest.approx(begin + width)
    assert float(first.get_attribute("width")) == pytest.approx(3 * width), "half a second of two"
    assert (
        "Of 4 s of all operations together 0.5 s were waiting" in watched.page.locator(".pane").inner_text()
    )
    for chart in (".clock", ".lanes:not(.clock)"):
        assert watched.page.locator(f"{chart} path.again title").all_text_contents() == [AGAIN]
    assert "1 operation of this search was done again" in watched.page.locator(".redone").inner_text()
    waited.evaluate("bar => bar.remove()")
    bars = watched.page.locator(".clock .op")
    assert bars.count() == len(tree.events)
    places = [(float(bar.get_attribute("x")), float(bar.get_attribute("y"))) for bar in bars.all()]
    assert len({y for _, y in places}) == 2, "two are under way at once"
    assert places == sorted(places)
    assert watched.faults == []
    watched.page.goto("about:blank")  # the next one opens the page anew


def test_what_a_run_waited_for_is_a_chart_that_is_read_on_a_phone(watched: Watched, timed: Written):
    work = timed.explored[0].work
    assert work is not None
    watched.page.set_viewport_size({"width": 400, "height": 900})
    watched.open(timed.path, "#problem=p&tab=time")
    watched.page.click(".over-time summary")
    said = watched.page.locator(".over-time summary").inner_text()
    whole = sum(pool.computed + pool.waited for pool in work.pools)
    for pool in work.pools:
        assert f"{100 * pool.computed / whole:.1f} % at a {pool.pool}" in said
    assert watched.page.locator(".over-time tbody tr").count() == 2 * len(work.pools) == 4
    for chart in ("svg.work", "svg.clock", "svg.lanes:not(.clock)"):
        box = watched.page.locator(chart).bounding_box()
        drawn = float(watched.page.locator(chart).get_attribute("viewBox").split()[2])
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
        assert box["width"] == pytest.approx(drawn, rel=0.02), "letters are as large as they are meant to be"
    watched.page.set_viewport_size({"width": 1280, "height": 900})
    assert watched.faults == []
    watched.page.goto("about:blank")


def test_revisions_stand_side_by_side_with_what_changed(watched: Watched, directory: Path):
    written = Written(directory, "chains")
    watched.open(written.path, "#problem=p&node=0")
    assert watched.page.locator(".chain section").count() == 4
    assert watched.page.locator(".chain ins").count() > 0
    assert watched.page.locator(".chain del").count() > 0
    assert watched.faults == []


def test_the_list_is_filtered_by_strategy(page, watched: Watched, written: Written, directory: Path):
    """Of several runs each has one; of a policy each problem has what was chosen for it."""
    strategy = page.locator("#list select >> nth=2")
    assert strategy.locator("option").all_text_contents() == [
        "strategy: any",
        "strategy: beam_search",
        "strategy: best_of_n",
    ]
    strategy.select_option("best_of_n")
    page.wait_for_selector("#problem[data-ready^='1 ']")  # what is shown is that run's
    best = written.explored[1]
    assert f"{sum(row.correct[0] for row in best.rows)} right by" in page.locator("#list").inner_text()
    path = directory / "policy.html"
    with reader(directory / "policy", "compute_optimal", CODEC) as run:
        (explored,) = write([run], path)
    chosen = {row.problem: row.strategy for row in explored.rows}
    assert len(set(chosen.values())) > 1, "the policy tells them apart"
    watched.open(path)
    for name in sorted(set(chosen.values())):
        page.locator("#list select >> nth=2").select_option(name)
        shown = [link.get_attribute("data-problem") for link in page.locator(".rows a").all()]
        assert sorted(shown) == sorted(problem for problem, ran in chosen.items() if ran == name)
        go(page, shown[0])
        assert f"the policy chose {name}" in page.locator(".question").inner_text()
    watched.open(written.path)


def test_print_has_the_list_the_tree_and_the_text_and_no_control(page, written: Written):
    go(page, "code")
    page.emulate_media(media="print")
    try:
        for part in ("#list .rows li >> nth=0", ".tree svg", ".reader .own", ".question"):
            assert page.locator(part).is_visible(), part
        controls = page.locator("button:not(.link), input, select, dialog, details:not([open])").all()
        assert controls
        assert not [one.inner_text() for one in controls if one.is_visible()]
        tree = page.locator(".tree").bounding_box()
        assert page.locator("#list").bounding_box()["y"] >= tree["y"] + tree["height"], (
            "what is read is first"
        )
        for width in (400, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.locator("#problem").is_visible()
            assert page.locator("#list").is_visible()
    finally:
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1280, "height": 900})


def test_the_strip_of_the_budget_says_what_it_shows(page, written: Written):
    go(page, "code")
    legend = page.locator(".player .legend li").all_text_contents()
    assert legend[0] == "FLOPs spent after each operation"
    assert legend[1].startswith("an equal share of the budget, ")
    assert legend[2] == "where it stands"


def test_numbers_are_written_as_on_the_other_pages(page):
    source = (files("orchestrator.explore") / "page" / "dom.js").read_text().replace("export ", "")
    numbers = random.Random(0)
    shares = [0.0, 0.8125, 0.8175, 0.8126, 1.0, *(numbers.randrange(1601) / 1600 for _ in range(500))]
    assert page.evaluate(f"(shares) => {{ {source}; return shares.map(percent) }}", shares) == [
        f"{100 * share:.1f} %" for share in shares
    ]
    amounts = [0, 1, 999, 1000, 8125e7, 81.25e9, 1.125e6, 999_500, 9.995e9, 6.083e10, 1e24]
    amounts += [int(10 ** numbers.uniform(0, 26)) for _ in range(500)]
    assert page.evaluate(f"(amounts) => {{ {source}; return amounts.map(flops) }}", amounts) == [
        in_flops(amount) for amount in amounts
    ]


@pytest.mark.parametrize("width", [400, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_wall_in_light_and_dark(page, watched: Watched, width: int, scheme: str):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    for tab in ("search", "why", "time", "money"):
        page.evaluate(f"location.hash = 'problem=code&tab={tab}'")
        page.wait_for_selector(f"#problem[data-ready='0 code {tab}']", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 24, 28)") == (scheme == "dark")
    page.select_option(".title .controls select >> nth=-1", "dark" if scheme == "light" else "light")
    other = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert other != dark
    page.select_option(".title .controls select >> nth=-1", "auto")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_an_address_is_followed_though_what_was_shown_writes_its_own_over_it(page):
    page.evaluate("""() => {
        location.hash = "problem=code&tab=money";
        history.replaceState({}, "", "#problem=code&tab=time");
    }""")
    page.wait_for_selector("#problem[data-ready='0 code money']", state="attached")


def test_it_works_inside_another_page_that_lets_it_do_nothing_but_run(watched: Watched, written: Written):
    """As the MLflow UI shows an artifact."""
    outer = written.path.with_name("outer.html")
    outer.write_text(f'<iframe sandbox="allow-scripts" src="{written.path.name}" width="1000"></iframe>')
    watched.faults.clear()
    watched.page.goto(outer.as_uri())
    frame = watched.page.frame_locator("iframe")
    frame.locator(".rows li").first.wait_for()
    frame.locator("[data-tab=why]").click()
    frame.locator(".ballots").wait_for()
    assert watched.faults == []
