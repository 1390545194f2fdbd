"""Counts what was ordered, and says how much it was."""

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports.event import Answer_Drop, Answer_Success
from wit_world.exports.http import Response
from wit_world.imports import state
from wit_world.imports.types import Code

STORE = "state"


class Event(wit_world.exports.Event):
    def handle(self, event):
        fruit = event.data.decode()
        if not fruit.isalpha():
            return Answer_Drop()
        print(f"{fruit}: {order(fruit)} so far")
        return Answer_Success()


class Http(wit_world.exports.Http):
    def handle(self, request):
        fruit = request.path.strip("/")
        found = state.get(STORE, fruit)
        return Response(200, [], f"{fruit}: {found.value.decode() if found else 0} so far\n".encode())


def order(fruit):
    """Starts again when somebody else wrote between reading and writing."""
    while True:
        found = state.get(STORE, fruit)
        number = int(found.value) + 1 if found else 1
        options = state.WriteOptions(found.etag if found else None, found is None, ttl=None, fence=None)
        try:
            state.set(STORE, state.Write(fruit, str(number).encode(), options))
            return number
        except Err as error:
            if error.value.code != Code.CONFLICT:
                raise
