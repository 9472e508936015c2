"""Faults of the U-Net in time and of the timing features: leaks, masks, durations, alignment."""

from tests.faults import Fault

TESTS, NET, HEAD, TIMING = (
    "tests/heads/test_states_unet.py",
    "etab/heads/states/unet.py",
    "etab/heads/states/heads.py",
    "etab/backbones/sound/timing.py",
)


def _fault(name: str, file: str, old: str, new: str, test: str) -> Fault:
    return Fault(f"states: {name}", file, old, new, (f"{TESTS}::{test}",))


FAULTS = [
    _fault(
        "people in two parts pass",
        HEAD,
        "            hsmm.refuse_shared_people(patients, split)\n",
        "",
        "test_a_person_in_training_and_test_is_refused",
    ),
    _fault(
        "test recordings are learned from",
        HEAD,
        "statenet.fit_networks(series, answers, split.train, parts,",
        "statenet.fit_networks(series, answers, np.concatenate([split.train, split.test]), parts,",
        "test_test_recordings_teach_nothing",
    ),
    _fault(
        "unannotated frames teach",
        NET,
        "functional.cross_entropy(logits, states, ignore_index=-1,",
        "functional.cross_entropy(logits, states.clamp_min(0),",
        "test_unannotated_frames_have_no_loss",
    ),
    _fault(
        "states stay where the sound moves",
        NET,
        "y[np.where(part[:, 0] < 0.5, low, high)]",
        "np.roll(y, 4)[low]",
        "test_crops_keep_sound_and_states_together",
    ),
    _fault(
        "any duration does",
        NET,
        "weight[0] = 0.0",
        "weight[:] = 1.0",
        "test_durations_are_those_of_training",
    ),
    _fault(
        "the seed is forgotten",
        HEAD,
        "replace(recipe, seed=seed)",
        "replace(recipe, seed=int(np.random.default_rng().integers(1 << 30)))",
        "test_the_seed_decides_and_torchs_generator_is_left_alone",
    ),
    _fault(
        "diastole for systole",
        TIMING,
        "s1, systole, s2, diastole = frames",
        "s1, diastole, s2, systole = frames",
        "test_timing_features_of_a_known_heart",
    ),
]
