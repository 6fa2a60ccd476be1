"""The responder's paced answers: so many bytes per second, in portions worth a packet."""

from onearm.lab.answers import STEP_S, reply

RATE = 20000


def paced():
    """An endless answer of which the head is sent."""
    answer = reply(f"GET /bytes/1000000?rate={RATE} HTTP/1.1\r\n", "a", "b")
    answer.sent(len(answer.head))
    return answer


def test_a_paced_answer_goes_in_steps_and_not_byte_by_byte():
    answer, portions = paced(), []
    for millisecond in range(1001):
        portion = answer.portion(answer.begun + millisecond / 1000 + 1e-6)
        answer.sent(len(portion))
        portions += [len(portion)] if portion else []
    assert portions == [RATE * STEP_S] * round(1 / STEP_S)


def test_what_was_late_is_made_up_for():
    answer = paced()
    assert len(answer.portion(answer.begun + 2.5)) == 2.5 * RATE
