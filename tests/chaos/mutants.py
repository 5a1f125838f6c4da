"""The code broken on purpose, in ways that lose, forge or hide records; a test must see each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cw_pipeline.paths import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

Edit = tuple[str, str, str]
"""A module of the package, text that stands in it once, and what stands there instead."""

SOAK = "tests/chaos/test_soak.py"
SIMULATION = "tests/simulation/test_histories.py"
KILLS = "tests/chaos/test_kills.py"
ANSWERS = "tests/story/test_answer_limits.py"
CLOCKS = "tests/story/test_clocks.py"
PROOF = "tests/story/test_proof.py"
LEASE = "tests/integration/test_lease.py"
ODD = "tests/story/test_odd_records.py"
WINDOW = "tests/story/test_sync_window.py"
_COPIED = ("cw_pipeline", "sql", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """A way to break the code, and the tests that are to see it, the first to see it first."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def broken(self) -> dict[str, str]:
        """The modules with the edits made. Raises ValueError if one does not fit any more."""
        modules: dict[str, str] = {}
        for module, old, new in self.edits:
            text = modules.get(module) or (PROJECT / "cw_pipeline" / module).read_text()
            if text.count(old) != 1:
                raise ValueError(f"{self.name}: {module} has its text {text.count(old)} times")
            modules[module] = text.replace(old, new)
        return modules

    def planted(self, folder: Path) -> Path:
        """A copy of the project with the edits made."""
        for name in _COPIED:
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            copy(PROJECT / name, folder / name)
        for module, text in self.broken().items():
            (folder / "cw_pipeline" / module).write_text(text)
        return folder

    def catcher(self, folder: Path, histories: int) -> str | None:
        """The first test that fails on the copy in `folder`; None if none does."""
        many = ["--histories", str(histories), "--simulations", str(3 * histories)]
        options = ["-x", "-q", "-p", "no:cacheprovider", *many]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *self.tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
        if found is None and done.returncode:
            raise RuntimeError(f"{self.name} broke the tests:\n{done.stdout[-3000:]}{done.stderr}")
        return found and found[1]


MUTANTS = (
    Mutant(
        "strict > instead of >=",
        (
            (
                "connectwise/query.py",
                '"lastUpdated >= {format_timestamp',
                '"lastUpdated > {format_timestamp',
            ),
        ),
        (WINDOW,),
    ),
    Mutant(
        "the watermark is the newest stamp seen",
        (
            (
                "sync/incremental.py",
                "    stamped: bool = False\n",
                "    stamped: bool = False\n    newest: datetime | None = None\n",
            ),
            (
                "sync/incremental.py",
                "alone=alone, read_after=window.opened_at)\n",
                (
                    "alone=alone, read_after=window.opened_at)\n"
                    "        self.newest = max(filter(None, (self.newest, *batch.last_updated)))\n"
                ),
            ),
            (
                "sync/incremental.py",
                "done = checkpoint.close_pass()",
                "done = Checkpoint(self.newest or checkpoint.watermark)",
            ),
        ),
        (WINDOW, SIMULATION),
    ),
    Mutant(
        "the watermark is the clock at the end",
        (
            (
                "sync/incremental.py",
                "done = checkpoint.close_pass()",
                "done = Checkpoint(self.run.context.source.now().at)",
            ),
        ),
        (WINDOW, SIMULATION),
    ),
    Mutant(
        "no overlap",
        (("model/progress.py", "step.since)) - overlap", "step.since))"),),
        (SIMULATION,),
    ),
    Mutant(
        "every Date is believed",
        (("model/progress.py", "self.source <= earliest + self.tolerance", "self.source"),),
        (CLOCKS, SOAK),
    ),
    Mutant(
        "a clock that was set back moves no window",
        (
            (
                "model/progress.py",
                "earliest if self.watermark - earliest > clock.tolerance else self.watermark",
                "self.watermark or earliest",
            ),
        ),
        (CLOCKS, SOAK),
    ),
    Mutant(
        "a clock that was set forward hides what is committed late",
        (
            (
                "model/progress.py",
                "clock.at - (self.watermark + passed) > clock.tolerance",
                "clock.at - (self.watermark + passed) > 9999 * clock.tolerance",
            ),
        ),
        (CLOCKS,),
    ),
    Mutant(
        "what was read later loses to a stamp of a clock that was ahead",
        (("sync/incremental.py", ", read_after=window.opened_at)", ", read_after=None)"),),
        (CLOCKS, SOAK),
    ),
    Mutant(
        "the checkpoint commits before the merge",
        (
            (
                "warehouse/entity_store.py",
                (
                    "        with self._database.transaction() as connection:\n"
                    "            self._lock_merges(connection, parent_id, shared=not alone)\n"
                ),
                (
                    "        if reached is not None and not self._opens_pass:\n"
                    "            with self._database.transaction() as connection:\n"
                    '                name = "move_tail" if reached.upto is None else "move_range"\n'
                    "                at = {'cursor': reached.cursor, 'after': reached.after}\n"
                    "                moved = self._run(connection, name, **at)\n"
                    "                self._refuse_if_taken_over(moved.rowcount)\n"
                    "        with self._database.transaction() as connection:\n"
                    "            self._lock_merges(connection, parent_id, shared=not alone)\n"
                ),
            ),
            (
                "warehouse/entity_store.py",
                (
                    "                moved = self._run(connection, name, cursor=reached.cursor,"
                    " after=reached.after)\n"
                    "                self._refuse_if_taken_over(moved.rowcount)\n"
                ),
                "",
            ),
        ),
        (KILLS,),
    ),
    Mutant(
        "a resumed pass ends at today's clock",
        (
            (
                "sync/incremental.py",
                "            self._run(store.checkpoint, resumes=True)\n",
                (
                    "            window = store.checkpoint.window\n"
                    "            window = replace(window, until=run.context.source.now().at)\n"
                    "            stored = replace(store.checkpoint, window=window)\n"
                    "            self._run(stored, resumes=True)\n"
                    "            return\n"
                ),
            ),
        ),
        (WINDOW, SOAK),
    ),
    Mutant(
        "a short page ends the list",
        (
            (
                "sync/list_reader.py",
                "        batch = self._reader.page_or_bisect(self.pending, query, self._parent_id,",
                (
                    "        if self._start % query.page_size:\n"
                    "            return None\n"
                    "        batch = self._reader.page_or_bisect(self.pending, query, self._parent_id,"  # noqa: E501 - as it stands in the code
                ),
            ),
        ),
        (WINDOW, SIMULATION),
    ),
    Mutant(
        "a page that stays broken is taken for an empty one",
        (
            (
                "sync/list_reader.py",
                "batch = bisect_page(self, query, error, parent_id=parent_id, start=start)",
                'batch = self._typed(b"[]", query, parent_id, start)',
            ),
        ),
        ("tests/story/test_poison.py", SIMULATION),
    ),
    Mutant(
        "a 404 is taken for an empty list",
        (
            (
                "sync/list_reader.py",
                "        except (SourceBroken, SourceDown) as error:\n            self._good = 0\n",
                (
                    "        except PipelineError as error:\n"
                    '            if ": 404" in str(error):\n'
                    '                return self._typed(b"[]", query, parent_id, start)\n'
                    "            if not isinstance(error, SourceBroken | SourceDown):\n"
                    "                raise\n"
                    "            self._good = 0\n"
                ),
            ),
        ),
        ("tests/story/test_sync_trouble.py",),
    ),
    Mutant(
        "an outage is blamed on records",
        (
            (
                "sync/list_reader.py",
                "        if not reader.answers():\n            raise error\n        reader.check",
                "        reader.check",
            ),
        ),
        ("tests/story/test_poison.py", "tests/story/test_retries.py"),
    ),
    Mutant(
        "too many rejects, and the watermark moves",
        (("sync/run.py", "if self.judged_rejects > allowed:", "if allowed < 0:"),),
        ("tests/story/test_dead_letters.py", "tests/story/test_poison.py"),
    ),
    Mutant(
        "dead letters are never tried again",
        (
            (
                "sync/entity_sync.py",
                "        retry_due_dead_letters(run)\n",
                "        _ = retry_due_dead_letters\n",
            ),
        ),
        ("tests/story/test_dead_letters.py",),
    ),
    Mutant(
        "an older copy wins",
        (
            (
                "warehouse/merge.py",
                "return later or not _older(stamp, before.stamp)",
                "return later or not _older(before.stamp, before.stamp)",
            ),
        ),
        ("tests/integration/test_merge.py",),
    ),
    Mutant(
        "a deleted record that comes back stays deleted",
        (
            (
                "warehouse/merge.py",
                "if not before.deleted and before.row_hash ==",
                "if before.row_hash ==",
            ),
        ),
        ("tests/integration/test_merge.py", SIMULATION),
    ),
    Mutant(
        "a record restored with an old date is not healed",
        (
            (
                "warehouse/merge.py",
                "before.synced_at < read_after",
                "before.synced_at < before.synced_at",
            ),
        ),
        ("tests/integration/test_merge.py", "tests/story/test_reconcile.py"),
    ),
    Mutant(
        "rows are deleted without a second question",
        (
            (
                "sync/deletes.py",
                "    return [row_id for row_id in gone if row_id not in still]\n",
                "    return [row_id for row_id in gone if row_id not in still or row_id]\n",
            ),
        ),
        ("tests/story/test_reconcile.py", "tests/story/test_reconcile_guard.py"),
    ),
    Mutant(
        "rows that were just synced are deleted",
        (
            (
                "warehouse/entity_store.sql",
                "    and _synced_at not between %(before)s and clock_timestamp()\n",
                "",
            ),
        ),
        ("tests/story/test_reconcile.py", "tests/story/test_reconcile_guard.py"),
    ),
    Mutant(
        "only parents that changed have their children read",
        (
            (
                "warehouse/entity_store.py",
                "rest = due or [ids for ids, changed, _ in known if not changed][:1]",
                "rest = due[:0]",
            ),
        ),
        ("tests/story/test_sync_children.py",),
    ),
    Mutant(
        "two runners of one entity at once",
        (
            (
                "warehouse/lease.py",
                "            and o.run_id <> all(%(dead)s)\n",
                "            and false\n",
            ),
            (
                "warehouse/lease.py",
                "    where l.expires_at not between clock_timestamp()",
                "    where true or l.expires_at not between clock_timestamp()",
            ),
        ),
        ("tests/story/test_holds.py",),
    ),
    Mutant(
        "children of a parent that is a dead letter are not read",
        (
            (
                "warehouse/entity_store.sql",
                "    where not exists (select from {schema}.{other} p where p.id = d.id",
                "    where false and not exists (select from {schema}.{other} p where p.id = d.id",
            ),
        ),
        (PROOF,),
    ),
    Mutant(
        "children outlive a parent that was never more than a dead letter",
        (
            (
                "sync/per_parent.py",
                "            gone += sorted({*ids} - {path[-1] for path in there})\n",
                "",
            ),
        ),
        (PROOF,),
    ),
    Mutant(
        "the letter of a child without an id outlives its parent",
        (
            (
                "sync/replay.py",
                "if nameless and parents and _is_gone(",
                "if parents and not _is_gone(",
            ),
        ),
        ("tests/story/test_dead_letters.py",),
    ),
    Mutant(
        "what was changed by hand is proven",
        (("warehouse/sweep.py", "or t._row_hash = 0", "or false"),),
        (PROOF,),
    ),
    Mutant(
        "a list that is not there is asked for every parent at every sync",
        (("sync/per_parent.py", "if refused == _FEW or", "if refused > len(due) or"),),
        ("tests/story/test_sync_children.py",),
    ),
    Mutant(
        "a list that was not there once is never asked again",
        (("warehouse/entity_store.sql", "interval '7 days'", "interval '7000 days'"),),
        ("tests/story/test_sync_children.py",),
    ),
    Mutant(
        "a role that could not be asked for may read everything",
        (
            (
                "sync/reconcile.py",
                "            unknown.append(f",
                "            _ = (f",
            ),
        ),
        ("tests/story/test_run.py",),
    ),
    Mutant(
        "a run ends without a lease",
        (
            (
                "warehouse/entity_store.sql",
                "cw_sync.fence(%(run_id)s) as run_id\n    where %(has_lease)s",
                "%(run_id)s::bigint as run_id\n    where %(has_lease)s",
            ),
        ),
        (LEASE,),
    ),
    Mutant(
        "a batch is loaded without a lease",
        (("warehouse/entity_store.py", "select cw_sync.fence(%s), ", "select %s::bigint, "),),
        (LEASE,),
    ),
    Mutant(
        "a run writes beside its batches without a lease",
        (("warehouse/lease.py", '"select cw_sync.fence(%s)"', '"select %s::bigint"'),),
        (LEASE,),
    ),
    Mutant(
        "a lease is not renewed",
        (("warehouse/lease.py", "        if not held and not released:\n", "        if hold:\n"),),
        (LEASE,),
    ),
    Mutant(
        "a lease ends by the taker's idea of how long it lasts",
        (
            (
                "warehouse/lease.py",
                "o.expires_at between clock_timestamp() and clock_timestamp() + o.span",
                "o.taken_at > clock_timestamp() - %(span)s",
            ),
            (
                "warehouse/lease.py",
                "l.expires_at not between clock_timestamp() and clock_timestamp() + l.span",
                "l.taken_at <= clock_timestamp() - %(span)s",
            ),
        ),
        (LEASE,),
    ),
    Mutant(
        "a batch that stands still keeps its lease",
        (
            (
                "warehouse/lease.py",
                "if self._ask(_END_STALLED, asked):",
                "if asked is None:",
            ),
        ),
        (LEASE,),
    ),
    Mutant(
        "Retry-After is not obeyed",
        (
            (
                "connectwise/client.py",
                "pause = _UNKNOWN_PAUSE if error.retry_after is None else error.retry_after",
                "pause = 0.01",
            ),
        ),
        ("tests/story/test_retries.py",),
    ),
    Mutant(
        "a lease that no server took back is in the way of its own process",
        (
            (
                "warehouse/lease.py",
                "or (run_id, taken_at) in self._unreleased:",
                "or not run_id:",
            ),
        ),
        (LEASE,),
    ),
    Mutant(
        "an empty list is asked by a window",
        (
            (
                "sync/entity_sync.py",
                "whole=plan.full or run.store.shows_nothing)",
                "whole=plan.full)",
            ),
        ),
        (WINDOW,),
    ),
    Mutant(
        "every list is asked in one version",
        (("model/entity.py", "return next(fitting, self.usual)", "return self.usual"),),
        ("tests/story/test_run.py",),
    ),
    Mutant(
        "a wait that a 429 names only in its body is not taken",
        (
            (
                "connectwise/response.py",
                "_wait_in(_head(body)) if wait is None else wait)",
                "wait)",
            ),
        ),
        ("tests/unit/test_response.py",),
    ),
    Mutant(
        "a breaker that has rested lets everybody through",
        (
            (
                "connectwise/retry.py",
                (
                    "                self._open_until = self.machine.monotonic() + _RESTS\n"
                    "        if left"
                ),
                "                self._open_until = 0.0\n        if left",
            ),
        ),
        ("tests/story/test_outage.py",),
    ),
    Mutant(
        "an answer inflates to whatever it likes",
        (("connectwise/response.py", "            if size > most:", "            if size < 0:"),),
        (ANSWERS,),
    ),
    Mutant(
        "an answer may take as long as bytes come",
        (("connectwise/answers.py", "        if left <= 0:\n", "        if left <= -1e9:\n"),),
        (ANSWERS,),
    ),
    Mutant(
        "large answers do not wait for those that are worked on",
        (("connectwise/answers.py", " and self._kept < _KEPT", ""),),
        (ANSWERS,),
    ),
    Mutant(
        "a list that trickles is asked for as long as it takes",
        (("sync/list_reader.py", "stuck_since > _SEARCHED:", "stuck_since > 1e9:"),),
        (ANSWERS,),
    ),
    Mutant(
        "numbers go through floats",
        (
            (
                "transform/copy_format.py",
                "digits = spelling if",
                "digits = repr(float(spelling)).encode() if",
            ),
        ),
        ("tests/unit/test_normalize.py",),
    ),
    Mutant(
        "NULs are left in texts",
        (("transform/raw_json.py", 'without_surrogates(value.replace("\\x00", ""))', "value"),),
        ("tests/story/test_dead_letters.py", SOAK),
    ),
    Mutant(
        "what is stored is told by its id and stamp alone",
        (
            (
                "transform/pages.py",
                "stored.get(row_id) == (source, stamp)",
                "stored.get(row_id, (0, 0))[1] == stamp",
            ),
        ),
        ("tests/story/test_unchanged_pages.py",),
    ),
    Mutant(
        "a changed hash does not make a row be read again",
        (
            (
                "warehouse/merge.py",
                "_source_hash # _row_hash, {stamp}",
                "_source_hash, {stamp}",
            ),
            ("transform/batch_builder.py", "source ^ row_hash", "source"),
            ("transform/c/records.c", "facts->source ^ facts->hash", "facts->source"),
        ),
        ("tests/story/test_unchanged_pages.py",),
    ),
    Mutant(
        "new columns do not make records be typed again",
        (
            (
                "transform/pages.py",
                "self.seed = hash_bytes(text_of_seed(entity).encode()) % 2**64",
                "self.seed = EDITION",
            ),
        ),
        ("tests/story/test_unchanged_pages.py",),
    ),
    Mutant(
        "what compiled code refuses is left out",
        (
            (
                "transform/pages.py",
                "            self._coerce_one_at_a_time(body[refused:begin], page, seed)",
                "            page.drift += ()",
            ),
        ),
        ("tests/unit/test_normalize.py", "tests/unit/test_compiled.py"),
    ),
    Mutant(
        "compiled code gives each year a leap day",
        (("transform/c/wire.h", "(month == 2 && leap)", "(month == 2)"),),
        ("tests/unit/test_compiled.py",),
    ),
    Mutant(
        "compiled code leaves fields out that the catalog does not know",
        (("transform/c/row.h", "object->closed || !skip_value", "!skip_value"),),
        ("tests/unit/test_compiled.py",),
    ),
    Mutant(
        "a refused record stops its page",
        (
            (
                "sync/run.py",
                "except DataRefused as refused:",
                "except ZeroDivisionError as refused:",
            ),
        ),
        (ODD,),
    ),
    Mutant(
        "a refused record takes half of its page along",
        (("sync/run.py", "load(batch.only(first), None) + load", "load"),),
        (ODD,),
    ),
    Mutant(
        "rows of a report are told apart by one of its columns",
        (
            ("reports_api/table.py", "hashtextextended(_staged::text", "hashtextextended(r::text"),
            ("reports_api/table.py", "from {staged} _staged) s", "from {staged} r) s"),
        ),
        ("tests/story/test_reports.py",),
    ),
    Mutant(
        "a fact counts at one of its places only",
        (("catalog/facts.py", "if len(kept) == 1 and place not in known}", "if len(kept) > 9}"),),
        ("tests/story/test_places.py",),
    ),
    Mutant(
        "of a fact's two values one is lost",
        (("transform/coerce.py", "    _spill(mended.unknown_values, other, text)\n", ""),),
        ("tests/story/test_places.py",),
    ),
    Mutant(
        "two columns of custom fields get one name",
        (
            (
                "reporting/custom_fields.py",
                "return next(name for name in names if name not in taken)",
                "return next(name for name in names if name not in taken or name)",
            ),
        ),
        ("tests/story/test_custom_fields.py",),
    ),
    Mutant(
        "a number that jsonb does not hold is left to the warehouse",
        (
            (
                "transform/raw_json.py",
                "    return found.adjusted() <",
                "    return True or found.adjusted() <",
            ),
        ),
        (ODD,),
    ),
    Mutant(
        "a record that is nested too deeply breaks its page",
        (
            (
                "transform/raw_json.py",
                "except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):",
                "except ZeroDivisionError:",
            ),
        ),
        (ODD,),
    ),
    Mutant(
        "a window closes letters of records without an id",
        (
            (
                "sync/incremental.py",
                "read_all = window.since is None and not resumes",
                "read_all = not resumes",
            ),
        ),
        ("tests/story/test_dead_letters.py",),
    ),
    Mutant(
        "reports of a past moment keep what became private",
        (("pipeline.py", "reporting.hide_in_as_of(context.database.transaction, ", "repr("),),
        ("tests/story/test_private_columns.py",),
    ),
    Mutant(
        "a decoder that is kept has no place for what was learned",
        (
            (
                "transform/pages.py",
                "learned = self._record_shape.learned_fields()",
                "learned = ()",
            ),
        ),
        ("tests/unit/test_compiled.py",),
    ),
    Mutant(
        "a field that is new is not shown before the next publish",
        (
            (
                "reporting/custom_fields.py",
                "                _show(connection, place, owner)\n",
                "",
            ),
        ),
        ("tests/story/test_custom_fields.py",),
    ),
    Mutant(
        "a server that is slow is taken for one that is down",
        (("dev/postgres.py", "if code >= DOWN and", "if code > DOWN and"),),
        ("tests/integration/test_embedded.py",),
    ),
)
