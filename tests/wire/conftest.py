"""What the tests of both wires may ask for."""

from tests.twins import book_twin as book_twin
