import subprocess
import sys

HOLD = 300_000_000
PEAK = "from pipeline.memory import peak_memory; print(peak_memory())"


def test_a_peak_is_that_of_the_process_and_not_of_the_one_that_started_it():
    parent = f"import subprocess, sys; held = bytes({HOLD}); held = b'x' * {HOLD}\n"
    parent += f"print(subprocess.run([sys.executable, '-c', {PEAK!r}], capture_output=True, text=True).stdout)\n{PEAK}"
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    child, own = map(int, done.stdout.split())
    assert child < HOLD < own
