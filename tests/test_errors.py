import pickle

from fwplan.errors import ExitCode, FwplanError


def test_an_error_survives_the_way_out_of_a_worker():
    error = FwplanError("broken", where="a.py:3", hint="mend it", exit_code=ExitCode.UNDECIDABLE)
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.where, again.hint, again.exit_code) == ("broken", "a.py:3", "mend it", 4)
    assert str(again) == "broken\n  --> a.py:3\nhint: mend it"
