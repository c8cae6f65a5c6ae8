"""Numbers that are hashes of what they are for."""

from __future__ import annotations

import torch

from xzoo.data.people import draws

WORD = 2**64


def mix(bits: int) -> int:
    """SplitMix64's finaliser by whole numbers of Python."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % WORD
    return bits ^ (bits >> 31)


def uniform(seed: int, subject: int, sample: int, stream: int, place: int) -> float:
    golden, key = 0x9E3779B97F4A7C15, seed % WORD
    for part in (stream, subject, sample):
        key = mix((key * golden + part) % WORD)
    return ((mix((key + place * golden) % WORD) >> 40) + 0.5) / 2**24


def test_numbers_are_the_hash_that_whole_numbers_of_python_give():
    subjects, samples = torch.tensor([0, 7, 2**40]), torch.tensor([0, 3, 10**6])
    for seed, stream in ((0, 0), (5, 21), (-3, 99)):
        found = draws.uniforms(seed, subjects, samples, stream, 4)
        for row, (subject, sample) in enumerate(zip(subjects.tolist(), samples.tolist(), strict=True)):
            wanted = [uniform(seed, subject, sample, stream, place) for place in range(1, 5)]
            assert found[row].tolist() == torch.tensor(wanted, dtype=torch.float64).float().tolist()
    every_other = draws.uniforms(1, torch.arange(6)[::2], torch.zeros(6, dtype=torch.int64)[::2], 2, 3)
    assert torch.equal(every_other, draws.uniforms(1, torch.arange(6), torch.zeros(6, dtype=torch.int64), 2, 3)[::2])


def test_an_accelerator_computes_the_same_hash():
    subjects, samples = torch.arange(3, 30), torch.arange(27) * 12345
    for seed, stream in ((0, 0), (2**31, 97), (-3, 41)):
        there = draws._bits_on_device(seed, subjects, samples, stream, 37)
        here = draws._bits_of(seed, subjects.numpy(), samples.numpy(), stream, 37)
        assert there.tolist() == here.tolist()
