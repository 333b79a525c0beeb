"""Semi-supervised 2D human pose estimation: learn joints from a few labelled people and many unlabelled ones."""
__version__ = "0.1.0"

_FROM = dict(prepare="run", train="run", load_run="run", evaluate_run="run", predict_photos="photos",
             protocol="protocols", METHODS="methods", Method="teaching", Kornia="kornia_steps",
             write_synth="data.synth", read_ledger="ledger")
__all__ = list(_FROM)


def __getattr__(name: str):
    "What a script needs, loaded when it is first used: `import semipose` alone loads no PyTorch"
    if name not in _FROM:
        raise AttributeError(f"semipose has no {name!r}; its modules are imported by name, as in "
                             "`from semipose.views import A30`.")
    from importlib import import_module
    value = globals()[name] = getattr(import_module(f"semipose.{_FROM[name]}"), name)
    return value


def __dir__():
    return sorted({*globals(), *_FROM})
