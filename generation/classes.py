"""Class names: what a class is called, and which of the orders that people count classes in a list of names is."""

from collections.abc import Mapping, Sequence

from generation.errors import CheckpointError, PresetError


def find_class(name: str, class_names: Sequence[str], synonyms: Mapping[str, str]) -> int | None:
    """Return the index of the class of a name.

    Args:
        name: as somebody wrote it.
        class_names: in the order of the class indices.
        synonyms: other names, each to its class's name.

    Returns:
        The class's index: by its name or synonym as it stands, or else in any case and without spaces around it where
        that leaves one class; None if there is no such class.
    """
    indices = {known: index for index, known in enumerate(class_names)}
    indices |= {synonym: indices[known] for synonym, known in synonyms.items()}
    if name in indices:
        return indices[name]
    folded = name.strip().casefold()
    alike = {index for known, index in indices.items() if known.casefold() == folded}
    return alike.pop() if len(alike) == 1 else None


def check_class_names(
    classes: int, names: Sequence[str], synonyms: Mapping[str, str], orders: Mapping[str, Sequence[str]]
) -> None:
    """Refuse names that do not tell the classes apart, and orders that are none of them.

    Raises:
        PresetError: too many or few names, equal or empty ones, a synonym of nothing, an order that lacks a class, or
            orders without that of the names.
    """
    if not names:
        if synonyms or orders:
            raise PresetError("image.synonyms and image.class_orders need image.class_names: add the names.")
        return
    if len(names) != classes:
        raise PresetError(f"image.class_names has {len(names)} names for {classes} classes: give one name a class.")
    if len(set(names)) != classes or not all(name.strip() for name in names):
        raise PresetError("image.class_names must be different and not empty.")
    for synonym, name in synonyms.items():
        if name not in names or synonym in names:
            raise PresetError(f"image.synonyms.{synonym} = {name!r} must give a class of class_names another name.")
    found = {key: [find_class(name, names, synonyms) for name in order] for key, order in orders.items()}
    every = list(range(classes))
    for key, order in found.items():
        if sorted(-1 if index is None else index for index in order) != every:
            raise PresetError(f"image.class_orders.{key} must have every class of class_names once.")
    if found and every not in found.values():
        raise PresetError("image.class_orders must have the order of class_names too: give it a name.")


def places_of(
    class_names: Sequence[str], synonyms: Mapping[str, str], other_names: Sequence[str], whose: str
) -> list[int]:
    """Return where each class stands in another order of the same classes.

    Args:
        class_names: in the order of the class indices.
        synonyms: other names, each to its class's name.
        other_names: the same classes, in the other order; each by its name or a synonym.
        whose: who counts in the other order, for the error's words.

    Returns:
        For each class, its index in `other_names`.

    Raises:
        CheckpointError: the names are of other classes.
    """
    found = [find_class(name, class_names, synonyms) for name in other_names]
    places = {index: place for place, index in enumerate(found) if index is not None}
    differing = [name for name, index in zip(other_names, found, strict=True) if index is None]
    differing += [name for index, name in enumerate(class_names) if index not in places]
    if differing or len(other_names) != len(class_names):
        raise CheckpointError(
            f"{whose} does not have the classes {short_list(class_names)}: they differ in "
            f"{(differing or other_names)[0]!r}. Take networks of the same classes."
        )
    return [places[index] for index in range(len(class_names))]


def short_list(names: Sequence[str], most: int = 10) -> str:
    """Return names for people to read, the first few where there are many."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
