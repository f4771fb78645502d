"""What is generated from the configuration's models is what lies in the tree."""

from teleport.service.config import Config
from teleport.service.fields import fields_of
from teleport.service.render import reference, stale


def test_reference_and_example_are_as_they_would_be_generated() -> None:
    assert stale() == []


def test_every_field_is_in_the_reference_with_a_word_about_it() -> None:
    text = reference()

    for top in fields_of(Config):
        assert f"### `{top.name}`" in text
        for field in fields_of(top.section) if top.section is not None else ():
            assert f"`{field.name}`" in text
            assert field.description or field.without_effect, f"{top.name}.{field.name}"
