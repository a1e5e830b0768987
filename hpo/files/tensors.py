"""What `torch.save` has written, read without torch's own loader: tensors, numbers and texts, nested.

`torch.load(weights_only=True)` calls functions that a file names, some of which make tensors at any address, so that a
stranger's file can write to memory and run code (torch 2.14). Here a file can name few things, each of which only
describes a tensor or is a plain container. Tensors are made at the end, as copies of bytes within their storage.
"""

import io
import math
import operator
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_ARCHIVE = b"PK\x03\x04"
"""The beginning of what `torch.save` writes."""
_DEEPEST = 200
"""How deep containers may be nested."""
_MOST_PARTS = 1_000_000
"""How many parts a tuple may have, written out: Python computes the hashes of all of them in C."""
_OPCODES = (
    {"PROTO", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
    | {"GLOBAL", "REDUCE", "BUILD", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE"}
    | {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"}
    | {"EMPTY_DICT", "SETITEM", "SETITEMS"}
)
"""What the pickles of `torch.save`, of protocol 2, are written with."""
_COPIES, _FEW_BYTES = 8, 2**24
"""Tensors may take so many times the bytes of their file, and a few more."""
_KINDS = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
"""torch's names of storages -> of the types in them."""
_UNTYPED = "untyped"
_NEWER = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "uint16", "uint32", "uint64")
"""Types that have no storages of their own: such a tensor names its type beside an untyped storage."""


def load_tensors(content: bytes | memoryview) -> Any:
    """Loads what `torch.save` has written, onto the CPU: dense tensors, numbers and texts, nested; no code is run.

    Raises:
        pickle.UnpicklingError: the content is corrupt, compressed, or holds anything else.
    """
    content = bytes(content)
    if content[:4] != _ARCHIVE:
        raise pickle.UnpicklingError("is not as torch.save writes it")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, len(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise pickle.UnpicklingError(f"is not as torch.save writes it: {error}") from None
    listing = [name for name in members if name.endswith("/data.pkl")]
    if len(listing) != 1 or members.get(f"{listing[0][:-9]}/byteorder", b"little") != b"little":
        raise pickle.UnpicklingError("is not as torch.save writes it: it has not one listing, or big-endian bytes")
    prefix = listing[0].removesuffix("data.pkl")
    return made(described(members[listing[0]])[0], members, prefix)


def described(listing: bytes) -> tuple[Any, Mapping[str, str]]:
    """What a pickle of torch's describes, with nothing made of it yet, and key -> type of each storage that it names.

    Raises:
        pickle.UnpicklingError: it is corrupt, or names what it may not.
    """
    try:
        _check_tuples(listing)
        reader = _Reader(io.BytesIO(listing))
        return reader.load(), reader.kinds
    except (pickle.UnpicklingError, MemoryError):
        raise
    except Exception as error:  # a pickle that is none may raise anything
        raise pickle.UnpicklingError(f"is not as torch.save writes it: {error}") from None


def made(description: Any, members: Mapping[str, bytes], prefix: str) -> Any:
    """Tensors, numbers and texts, as `described` has found them.

    Args:
        description: of all.
        members: name -> bytes of each storage.
        prefix: of these names, before `data/`.

    Raises:
        pickle.UnpicklingError: a tensor is none, or larger than its storage.
    """
    try:
        return _Maker(members, prefix).made(description, 0)
    except (pickle.UnpicklingError, MemoryError):
        raise
    except Exception as error:  # what describes none may raise anything
        raise pickle.UnpicklingError(f"is not as torch.save writes it: {error}") from None


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    found = archive.infolist()
    if sum(member.file_size for member in found) > size:  # torch never compresses
        raise pickle.UnpicklingError(f"would unpack to more than its {size:,} bytes")
    members = {member.filename: archive.read(member) for member in found}
    if len(members) < len(found):
        raise zipfile.BadZipFile("two of its members have one name")
    return members


def _check_tuples(listing: bytes) -> None:
    """Refuses tuples of which one, as a key, would have a hash that overflows the stack, or takes for ever.

    What a pickle has on its stack is followed, each part by its depth in tuples and by how many parts it would have
    written out; other containers are no keys.
    """
    stack: list[tuple[int, int]] = []
    marks: list[int] = []
    memo: dict[int, tuple[int, int]] = {}
    for opcode, argument, _ in pickletools.genops(listing):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"has the opcode {opcode.name}, which torch.save does not write")
        taken = [part for part in opcode.stack_before if part is not pickletools.markobject]
        has_slice = pickletools.stackslice in taken
        start = marks.pop() - len(taken) + 1 if has_slice else len(stack) - len(taken)
        if start < (marks[-1] if marks else 0):
            raise pickle.UnpicklingError("takes more from its stack than there is")
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            if int(argument or 0) > len(listing):  # the memo is as long as the largest number in it
                raise pickle.UnpicklingError("numbers what it keeps beyond its own length")
            memo[int(argument or 0)] = stack[-1]
        elif opcode.name == "MARK":
            marks.append(len(stack))
        elif "GET" in opcode.name:
            stack.append(memo[int(argument or 0)])
        else:
            deepest = max((depth for depth, _ in stack[start:]), default=0)
            parts = sum(size for _, size in stack[start:]) if opcode.name.startswith("TUPLE") else 0
            if deepest > _DEEPEST or parts > _MOST_PARTS:
                raise pickle.UnpicklingError("is nested without an end")
            stack[start:] = [(deepest + opcode.name.startswith("TUPLE"), 1 + parts)] * len(opcode.stack_after)


def _refuse(self: object, state: object) -> None:
    """Stands for `__setstate__`, so that a pickle can change nothing of an object.

    Classes with slots would have another one by Python 3.11.3 and older.
    """
    raise pickle.UnpicklingError("sets what is not its own")


@dataclass(frozen=True)
class _Kind:
    """A type of storage."""

    name: str
    __setstate__ = _refuse


@dataclass(frozen=True)
class _Storage:
    """A member of the archive."""

    kind: str
    key: str
    __setstate__ = _refuse


@dataclass(frozen=True, eq=False)  # a hash of its parts, which may be such tensors again, could take for ever
class _Described:
    """A tensor that is made later."""

    storage: Any
    offset: Any
    size: Any
    stride: Any
    kind: Any = None
    """The type of the tensor, where the storage has none."""
    __setstate__ = _refuse


class _Stands:
    """Stands for a function that a file names, and of which a pickle can change nothing.

    Args:
        makes: what it does.
    """

    __slots__ = ("_makes",)
    __setstate__ = _refuse

    def __init__(self, makes: Callable[..., Any]) -> None:
        self._makes = makes

    def __call__(self, *arguments: Any) -> Any:
        return self._makes(*arguments)


class _Items(OrderedDict[Any, Any]):
    """Stands for `OrderedDict`; attributes, as `state_dict` gives it some, are left out."""

    def __setstate__(self, state: object) -> None:
        """Nothing: by `_metadata`, tensors could take the place of a module's own."""


def _newer(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, kind: Any, *_: Any) -> _Described:
    return _Described(storage, offset, size, stride, kind)


def _size(lengths: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(map(operator.index, lengths))


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"names encoding {encoding}")
    return text.encode("latin1")


_NAMES: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Items,
    ("torch._utils", "_rebuild_tensor"): _Stands(lambda *described: _Described(*described[:4])),
    ("torch._utils", "_rebuild_tensor_v2"): _Stands(lambda *described: _Described(*described[:4])),
    ("torch._utils", "_rebuild_tensor_v3"): _Stands(_newer),
    ("torch._utils", "_rebuild_parameter"): _Stands(lambda data, *_: data),
    ("torch.storage", "UntypedStorage"): _Kind(_UNTYPED),
    ("torch", "Size"): _Stands(_size),
    ("_codecs", "encode"): _Stands(_encoded),
    ("__builtin__", "bytes"): _Stands(lambda: b""),
    ("__builtin__", "set"): _Stands(set),
    ("__builtin__", "frozenset"): _Stands(frozenset),
    ("__builtin__", "complex"): _Stands(complex),
    **{("torch", name): _Kind(kind) for name, kind in _KINDS.items()},
    **{("torch", name): _Kind(name) for name in _NEWER},
}
"""All that a file can name."""


class _Reader(pickle.Unpickler):
    """Unpickles descriptions."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.kinds: dict[str, str] = {}
        """Key of each storage that was named -> its type."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module.replace("builtins", "__builtin__"), name]
        except KeyError:
            raise pickle.UnpicklingError(f"names {module}.{name}") from None

    def persistent_load(self, said: Any) -> _Storage:
        what, kind, key, *_ = said
        if what != "storage" or not isinstance(kind, _Kind) or type(key) is not str:
            raise pickle.UnpicklingError("names a storage of no known kind")
        if self.kinds.setdefault(key, kind.name) != kind.name:
            raise pickle.UnpicklingError("names a storage by two types")
        return _Storage(kind.name, key)


class _Maker:
    """Makes what was described.

    Args:
        members: of the archive.
        prefix: of the names of its members.
    """

    def __init__(self, members: Mapping[str, bytes], prefix: str) -> None:
        self._members, self._prefix = members, prefix
        self._storages: dict[tuple[str, str], Tensor] = {}
        """Type and key -> what is stored."""
        self._left = _FEW_BYTES + _COPIES * sum(map(len, members.values()))
        """Bytes that tensors may still take: each is a copy of its part of a storage, which several may share."""
        self._known: dict[int, tuple[Any, Any]] = {}
        """What was met before -> what was made of it: a file may name the same thing again and again."""

    def made(self, value: Any, depth: int) -> Any:
        """A value with tensors in place of descriptions."""
        if depth > _DEEPEST:
            raise pickle.UnpicklingError("is nested without an end")
        if id(value) not in self._known:
            self._known[id(value)] = value, self._made(value, depth)
        return self._known[id(value)][1]

    def _made(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is _Described:
            return self._tensor(value)
        if kind in (dict, _Items):
            items = {self._plain(key): self.made(part, depth + 1) for key, part in value.items()}
            return items if kind is dict else OrderedDict(items)
        if kind in (list, tuple):
            return kind(self.made(part, depth + 1) for part in value)
        if kind in (set, frozenset):
            return kind(map(self._plain, value))
        return self._plain(value)

    @staticmethod
    def _plain(value: Any) -> Any:
        """A number or a text, or a tuple of such, as a key may be."""
        if type(value) is tuple:
            return tuple(map(_Maker._plain, value))
        if value is not None and type(value) not in (bool, int, float, complex, str, bytes, bytearray):
            raise pickle.UnpicklingError(f"holds {type(value).__name__}, which is no tensor, number or text")
        return value

    def _tensor(self, described: _Described) -> "Tensor":
        if type(described.storage) is not _Storage:
            raise pickle.UnpicklingError("holds a tensor without a storage")
        storage = self._storage(described.storage, described.kind)
        size, stride, offset = described.size, described.stride, described.offset
        if not (type(size) is tuple and type(stride) is tuple and len(size) == len(stride) <= 64):
            raise pickle.UnpicklingError("holds a tensor of no known shape")
        if any(type(number) is not int or not 0 <= number < 2**62 for number in (*size, *stride, offset)):
            raise pickle.UnpicklingError("holds a tensor of no known shape")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if math.prod(size) and (last >= len(storage) or math.prod(size) > len(storage)):
            raise pickle.UnpicklingError("holds a tensor that is larger than its storage")
        if not math.prod(size):
            return storage.new_empty(size)
        self._left -= math.prod(size) * storage.element_size()
        if self._left < 0:
            raise pickle.UnpicklingError("would unpack to far more than its bytes")
        return storage.as_strided(size, stride, offset).clone()

    def _storage(self, named: _Storage, newer: Any) -> "Tensor":
        """All that a storage has, as a tensor of one dimension."""
        import torch

        if (named.kind == _UNTYPED) != (type(newer) is _Kind and newer.name in _NEWER):
            raise pickle.UnpicklingError("holds a tensor of no known type")
        name = newer.name if named.kind == _UNTYPED else named.kind
        if (name, named.key) not in self._storages:
            content = self._members[f"{self._prefix}data/{named.key}"]
            kind: torch.dtype = getattr(torch, name)
            whole = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0).byte()
            self._storages[name, named.key] = whole != 0 if name == "bool" else whole.view(kind)
        return self._storages[name, named.key]
