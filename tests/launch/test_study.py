import pathlib

import pytest
from launching import run_job

from configs import study as studies
from launch import planning


def _config(**rows):
  config = studies.get_config("smoke")
  for name, row in rows.items():
    config.rows[name] = row
  return config


def test_first_seeds_of_all_rows_come_first(tmp_path):
  config = _config(two=studies.row("configs/dsl.py:smoke"))
  config.rows.dsl.seeds = (5, 6)
  runs = planning.plan(config, tmp_path)
  assert [(run.row, run.seed) for run in runs] == [
    *(("dsl", 5), ("supervised", 0), ("two", 0), ("dsl", 6))
  ]
  assert [run.config.seed for run in runs] == [5, 0, 0, 6]
  assert runs[3].workdir == tmp_path / "dsl" / "seed6"


def test_overrides_of_a_row_come_after_shared_ones_and_the_users_last(tmp_path):
  config = _config(wide=studies.row("configs/dsl.py:smoke", "training.steps=7"))
  config.shared = ("training.steps=5", "optimiser.beta1=0.5")
  found = {run.row: run.config for run in planning.plan(config, tmp_path)}
  assert (found["dsl"].training.steps, found["wide"].training.steps) == (5, 7)
  assert found["wide"].optimiser.beta1 == 0.5
  found = {r.row: r.config for r in planning.plan(config, tmp_path, ("training.steps=9",))}
  assert (found["dsl"].training.steps, found["wide"].training.steps) == (9, 9)


def test_a_row_starts_from_the_run_of_its_seed_in_another(tmp_path):
  tuned = studies.row("configs/supervised.py:smoke", seeds=(0, 4), start_from="dsl")
  config = _config(a_tuned=tuned, b_again=studies.row("configs/supervised.py:smoke"))
  config.rows.b_again.start_from = "a_tuned"
  config.rows.dsl.seeds = (0, 4)
  runs = {(run.row, run.seed): run for run in planning.plan(config, tmp_path)}
  for seed in (0, 4):
    assert runs["a_tuned", seed].after is runs["dsl", seed]
    assert runs["a_tuned", seed].config.model.start_from == str(tmp_path / "dsl" / f"seed{seed}")
  assert runs["b_again", 0].after is runs["a_tuned", 0]
  assert runs["dsl", 0].after is None
  # what it starts from is part of what it is
  config.rows.dsl.overrides = ("optimiser.beta1=0.5",)
  other = {(run.row, run.seed): run for run in planning.plan(config, tmp_path)}
  assert other["a_tuned", 0].fingerprint() != runs["a_tuned", 0].fingerprint()


def test_rows_that_cannot_start_from_each_other(tmp_path):
  config = _config(tuned=studies.row("configs/dsl.py:smoke", seeds=(1,), start_from="dsl"))
  with pytest.raises(ValueError, match=r"tuned: it starts from row dsl, which has no .* seed 1"):
    planning.plan(config, tmp_path)
  config.rows.tuned.start_from = "dls"
  with pytest.raises(ValueError, match="start_from is 'dls': it must be a row"):
    planning.plan(config, tmp_path)
  config.rows.tuned.start_from, config.rows.dsl.start_from = "dsl", "tuned"
  with pytest.raises(ValueError, match="dsl, tuned start from each other in a circle"):
    planning.plan(config, tmp_path)


def test_rows_to_train_bring_what_they_start_from(tmp_path):
  config = _config(other=studies.row("configs/dsl.py:smoke", seeds=(0, 4)))
  config.rows.dsl.seeds = (0, 4, 5)
  config.rows.tuned = studies.row("configs/supervised.py:smoke", seeds=(0, 4), start_from="dsl")
  config.rows.again = studies.row("configs/supervised.py:smoke", seeds=(4,), start_from="tuned")
  runs = planning.plan(config, tmp_path)

  def chosen(*rows):
    return [(run.row, run.seed) for run in planning.choose(runs, rows)]

  assert chosen() == [(run.row, run.seed) for run in runs]
  assert chosen("other") == [("other", 0), ("other", 4)]
  assert sorted(chosen("again")) == [("again", 4), ("dsl", 4), ("tuned", 4)]
  assert sorted(chosen("other", "tuned")) == [
    *(("dsl", 0), ("dsl", 4), ("other", 0), ("other", 4), ("tuned", 0), ("tuned", 4))
  ]
  with pytest.raises(ValueError, match=r"--rows names dls: there are again, dsl, other, .*tuned"):
    planning.choose(runs, ("dsl", "dls"))


@pytest.mark.parametrize(
  ("file", "override", "said"),
  [
    ("configs/dsl.py:smok", "seed=1", r"row bad \(configs/dsl\.py:smok\): .*no variant 'smok'"),
    ("configs/dls.py", "seed=1", r"row bad \(configs/dls\.py\): .*dls\.py"),
    ("configs/dsl.py:smoke", "training.step=3", r"row bad .*\"steps\" instead of \"step\""),
    ("configs/dsl.py:smoke", "training.steps=many", r"row bad .*training\.steps"),
    ("configs/dsl.py:smoke", "training.steps=0", r"row bad .*config\.training\.steps is 0"),
    ("configs/dsl.py:smoke", "probe.steps=51", r"row bad has probe\.steps 51.*config\.shared"),
  ],
)
def test_a_row_that_is_not_right_is_named_before_anything_else(tmp_path, file, override, said):
  config = _config(bad=studies.row(file, override))
  with pytest.raises(ValueError, match=said) as error:
    planning.plan(config, tmp_path / "runs")
  assert "\n" not in str(error.value)
  assert not (tmp_path / "runs").exists()


def test_rows_are_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  loaded = planning.load_row("dsl", "configs/dsl.py:smoke", ("seed=4",))
  assert (loaded.name, loaded.seed) == ("smoke", 4)
  (flag, *_) = planning.as_flags("configs/dsl.py:smoke", ())
  assert pathlib.Path(flag.removeprefix("--config=").partition(":")[0]).is_file()


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--config=configs/study.py:smoke", "--worker=2", "--workers=2"], "give one from 0 to 1"),
    (["--config=configs/study.py:smoke", "--set=training.stepps=3"], "row dsl"),
    (["--config=configs/study.py:smoke", "--config.reference=x"], "there are dsl, supervised"),
    (["--config=configs/study.py:smoke", "--set=nonsense"], "--set=nonsense: give KEY=VALUE"),
    (["--config=configs/study.py:smoke", "--rows=dsl,ae"], "--rows names ae: there are dsl, sup"),
    ([], "--config=configs/study.py"),
  ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, arguments, said):
  done = run_job("study", *arguments, f"--workdir={tmp_path / 'study'}")
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert said in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
  assert not (tmp_path / "study").exists()
