from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pyquaternion import Quaternion

from pipeline.geometry import inverse, project, quaternion_wxyz, rigid, rotation_matrix, slerp, transform_points, unproject

unit = st.floats(-1, 1)
quaternion = st.tuples(unit, unit, unit, unit).filter(lambda q: np.linalg.norm(q) > 0.1)
translation = st.tuples(*[st.floats(-1000, 1000)] * 3)


@given(translation, quaternion)
def test_inverse_when_applied_twice_then_identity(t, q):
    pose = rigid(t, q)
    np.testing.assert_allclose(inverse(pose) @ pose, np.eye(4), atol=1e-9)


@given(quaternion)
def test_rotation_matrix_agrees_with_the_devkits_quaternion(q):
    np.testing.assert_allclose(rotation_matrix(q), Quaternion(q).normalised.rotation_matrix, atol=1e-12)


@given(quaternion)
def test_quaternion_when_of_a_rotation_then_the_one_it_was_made_of(q):
    found = quaternion_wxyz(rotation_matrix(q))
    expected = np.array(q) / np.linalg.norm(q)
    assert found[0] >= 0
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-9)


@given(quaternion, quaternion, st.floats(0, 1))
def test_slerp_agrees_with_the_devkits_quaternion(a, b, amount):
    ours = rotation_matrix(slerp(np.array(a), np.array(b), amount))
    theirs = Quaternion.slerp(Quaternion(a).normalised, Quaternion(b).normalised, amount).rotation_matrix
    cosine = abs(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
    if cosine > 1e-6:  # opposite rotations have no shorter arc
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1600), st.floats(0, 900), st.floats(1, 250)), min_size=1, max_size=20))
def test_unproject_when_projected_then_identity(pixels):
    u, v, depth = np.array(pixels).T
    intrinsic = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
    back = project(unproject(u, v, depth, intrinsic), intrinsic)
    for given_value, found in zip((u, v, depth), back, strict=True):
        np.testing.assert_allclose(found, given_value, atol=1e-6)


def test_transform_points_when_translated_then_moves():
    np.testing.assert_allclose(transform_points(rigid((1, 2, 3), (1, 0, 0, 0)), np.zeros((1, 3))), [[1, 2, 3]])
