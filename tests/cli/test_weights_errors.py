"""Whatever is wrong with the weights: exit 2, one line with the file, the trouble and the mend."""

import pickle  # noqa: TID251 - written here, to be refused

import numpy as np
import pytest

W = np.array([1.0, 0.5, -0.5])
_BAD_COEF = {
    "0-D": (np.float64(1), "coef has shape (), not (features,) or (classes, features)"),
    "3-D": (np.ones((1, 1, 3)), "coef has shape (1, 1, 3)"),
    "empty": (np.ones(0), "coef has shape (0,)"),
    "too wide": (np.ones(4), "the data asks for 3 columns"),
    "column": (W[:, None], "the data asks for 3 columns"),
    "three rows": (np.ones((3, 3)), "the weights have 3 rows, the logistic loss takes one row"),
    "strings": (W.astype(str), "coef has type <U"),
    "complex": (W + 0j, "coef has type complex128"),
    "bool": (W > 0, "coef has type bool"),
    "objects": (W.astype(object), "is a pickle"),
    "long double": (W.astype(np.longdouble), "wider than float64"),
    "wide integers": (np.array([2**62 + 1, 1, 1]), "too large for float64"),
    "nan": (np.array([1.0, np.nan, 2.0]), "coef has 1 NaN or infinite entries"),
    "infinite": (np.array([np.inf, -np.inf, 2.0]), "coef has 2 NaN or infinite entries"),
}


@pytest.mark.parametrize("name", ["unlearned.npz", "original.npz"])
@pytest.mark.parametrize(("coef", "trouble"), _BAD_COEF.values(), ids=_BAD_COEF)
def test_coef_that_makes_no_sense_is_refused(project, refuses, name, coef, trouble):
    project.weights(name, coef=coef)
    refuses(project, f"{name}: ", trouble)


@pytest.mark.parametrize(
    ("intercept", "trouble"),
    [
        (None, "the data asks for 4 columns (3 features and an intercept)"),
        (np.ones(2), "the intercept has shape (2,)"),
        (np.ones((1, 1)), "the intercept has shape (1, 1)"),
        (np.array(["a"]), "intercept has type <U1"),
        (np.array([np.nan]), "intercept has 1 NaN or infinite entries"),
        (np.ones(1, dtype=np.longdouble), "wider than float64"),
    ],
)
def test_an_intercept_that_makes_no_sense_is_refused(project, refuses, intercept, trouble):
    project.put("objective.fit_intercept", True)
    project.weights(coef=W, **({} if intercept is None else {"intercept": intercept}))
    refuses(project, "unlearned.npz: ", trouble)


def test_an_intercept_the_objective_does_not_know_is_refused(project, refuses):
    project.weights(coef=W, intercept=np.array([0.3]))
    refuses(project, "unlearned.npz: the model has an intercept", "set fit_intercept = true")


def test_an_intercept_of_zero_is_no_intercept(project, certify):
    with np.load(project.folder / "unlearned.npz") as stored:
        project.weights(coef=stored["coef"], intercept=np.zeros(1))
    assert certify("check", project.path, "--quiet").code == 0


@pytest.mark.parametrize(
    ("classes", "trouble"), [(1, "takes one row for each class"), (2, "has parameters of shape"), (4, "has parameters")]
)
def test_softmax_weights_for_another_number_of_classes_are_refused(build, refuses, classes, trouble):
    project = build("softmax")
    project.weights(coef=np.ones((classes, 3)))
    refuses(project, trouble)


def test_softmax_weights_for_too_few_classes_are_refused_without_an_original(build, refuses):
    project = build("softmax").drop("release.original")
    project.weights(coef=np.ones((2, 3)))
    refuses(project, "train.npz: labels must be whole numbers 0..1 for softmax with 2 classes")


def test_an_original_of_another_shape_is_refused(build, refuses):
    project = build("softmax")
    project.weights("original.npz", coef=np.ones((4, 3)))
    refuses(project, "original.npz: has parameters of shape (4, 3), the model under review (3, 3)")


def test_missing_coef_is_named_with_what_is_there(project, refuses):
    project.weights(weights=W)
    refuses(project, "unlearned.npz: has no array 'coef' (it has: weights)")


@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".npz", ".npy"])
def test_a_pickle_is_refused_whatever_its_name(project, refuses, suffix):
    project.write("model" + suffix, pickle.dumps(W))
    project.put("release.model", "model" + suffix)
    refuses(project, f"model{suffix}: is a pickle; loading one would run code", "numpy.savez")


def test_an_archive_of_torch_is_refused_as_a_pickle(project, projects, refuses):
    archive = projects.npz(coef=W).replace(b"coef.npy", b"data.pkl")  # what torch.save writes is a zip with a pickle
    project.write("model.pt", archive)
    project.put("release.model", "model.pt")
    refuses(project, "model.pt: is a pickle")


@pytest.mark.parametrize("suffix", [".onnx", ".h5", ".json", ""])
def test_weights_of_an_unknown_kind_are_refused(project, refuses, suffix):
    project.write("model" + suffix, b"x")
    project.put("release.model", "model" + suffix)
    refuses(project, "cannot read weights from a", "save them as .npz (coef, intercept), .npy or .safetensors")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors"])
def test_truncated_weights_are_refused(project, projects, refuses, suffix, share):
    path = project.folder / f"model{suffix}"
    content = projects.dump_weights(path, projects.LinearWeights(W))
    project.write(path.name, content[: int(share * len(content))])
    project.put("release.model", path.name)
    refuses(project, f"model{suffix}: ")


def test_a_type_numpy_does_not_know_is_refused(project, refuses):
    header = b'{"coef":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    project.write("model.safetensors", len(header).to_bytes(8, "little") + header + bytes(6))
    project.put("release.model", "model.safetensors")
    refuses(project, "model.safetensors: ", "save it again as float32 or float64")


@pytest.mark.parametrize("name", ["unlearned.npz", "original.npz"])
def test_a_missing_model_is_named(project, refuses, name):
    project.remove(name)
    refuses(project, f"{name}: no such file")


@pytest.mark.parametrize("coef", [W * 1e308, W * 5e-324], ids=["largest", "smallest"])
def test_weights_at_the_edge_of_float64_fail_without_a_warning(project, certify, coef):
    with np.errstate(under="ignore"):
        project.weights(coef=coef)
    done = certify("check", project.path)
    assert (done.code, done.stderr) == (1, "")
