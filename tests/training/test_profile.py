import jax

from jaxpose.training.profile import Profile


def test_the_last_step_is_waited_for_before_its_trace_ends(tmp_path, monkeypatch):
  done = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: done.append("start"))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: done.append("stop"))
  profile = Profile(tmp_path, (2, 3), done.append)
  for step in range(1, 5):
    with profile.of(step, lambda: done.append("results")):
      done.append(step)
  profile.close()
  said = f"the trace of steps 2 to 3 is in {tmp_path}"
  assert done == [1, "start", 2, 3, "results", "stop", said, 4]
