"""Every way in which a recipe's text can be wrong, with the line that a user reads."""

import pytest

from smelt.errors import InputError
from smelt.recipes.reading import read_text

LINEAR = """\
merge_method: linear
models:
  - model: a
    parameters: {weight: 1}
  - model: b
    parameters: {weight: 1}
"""
TIES = """\
merge_method: ties
base_model: a
models:
  - model: b
    parameters: {weight: 1}
"""
SLERP = "merge_method: slerp\nbase_model: a\n"
STACK = """\
merge_method: passthrough
slices:
  - sources:
    - model: a
      layer_range: [0, 2]
"""
ONE = "merge_method: linear\nmodels: "
IGNORED = "mergekit ignores it: delete the line, or carry on with --lenient."
KEYS = (
    "Keys: name, merge_method, models, slices, modules, base_model, parameters, dtype, out_dtype, tokenizer,"
    " tokenizer_source, chat_template, seed."
)
TIES_SETTINGS = "Settings: weight, density, normalize, lambda, rescale, scope, equalize."
DTYPES = "llowed: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2"
NAMES = "Allowed: auto, alpaca, chatml, llama3, mistral, exaone, or a Jinja text of at least 20 characters with a '{'"
RANGE = "'layer_range' must be two whole numbers [first, end] with 0 <= first < end, not"
BOMB = "a: &a [x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{of}'] * 20)}]\n" for of, key in ("ab", "bc", "cd", "de")
)


def ties_with(**parts: str) -> str:
    return TIES.replace("weight: 1", ", ".join(f"{name}: {value}" for name, value in parts.items()))


CASES = {
    "empty": ("", "1: the recipe is empty; it needs 'merge_method' and one of models, slices, modules"),
    "comments": ("# a\n", "1: the recipe is empty; it needs 'merge_method' and one of models, slices, modules"),
    "empty documents": (
        "---\n---\n",
        "1: the recipe is empty; it needs 'merge_method' and one of models, slices, modules",
    ),
    "list": ("- a\n", "1: a recipe must be a mapping ('key: value' lines), not a list"),
    "text": ("some text\n", "1: a recipe must be a mapping ('key: value' lines), not 'some text'"),
    "no models": (
        "merge_method: linear\n",
        "1: a recipe must have exactly one of models, slices, modules; this one has none",
    ),
    "no method": ("\nmodels: [{model: a}]\n", "2: the recipe has no 'merge_method'; 'smelt methods' lists them"),
    "wrong method": (
        LINEAR.replace("linear", "lineer"),
        "1: there is no merge method 'lineer'; did you mean 'linear'? Methods: ",
    ),
    "two shapes": (
        LINEAR + "slices: []\n",
        "7: a recipe must have exactly one of models, slices, modules; this one has models and slices",
    ),
    "no model": (ONE + "[]\n", "2: 'models' is an empty list"),
    "models as text": (ONE + "a\n", "2: 'models' must be a list ('- …' lines), not 'a'"),
    "model as text": (ONE + "[a]\n", "2: a model is a mapping; write '- model: a'"),
    "model without name": (ONE + "[{model: }]\n", "2: 'model' must be text, not nothing"),
    "model as list": (ONE + "[{model: [a]}]\n", "2: 'model' must be text, not a list"),
    "no model key": (ONE + "[{parameters: {}}]\n", "2: this entry has no 'model'; write 'model: PATH'"),
    "no base": (TIES.replace("base_model: a\n", ""), "1: ties needs 'base_model: PATH'"),
    # settings
    "unknown key": (
        TIES + "paramters: {}\n",
        f"6: a recipe has no key 'paramters'; did you mean 'parameters'? {KEYS} {IGNORED}",
    ),
    "unknown setting": (
        ties_with(wieght="1"),
        f"5: ties has no setting 'wieght'; did you mean 'weight'? {TIES_SETTINGS} {IGNORED}",
    ),
    "another's setting": (
        LINEAR + "parameters:\n  density: 1\n",
        f"8: linear has no setting 'density'. Settings: weight, normalize. {IGNORED}",
    ),
    "global setting under a model": (
        ties_with(weight="1", normalize="true"),
        "5: 'normalize' holds for all models alike, so it has no place under one of them; move it to 'parameters' of"
        f" the recipe, or of a slice. {IGNORED}",
    ),
    "missing weight": (
        ties_with(density="1"),
        "4: model 'b' has no 'weight', which ties needs of every model but the base model;"
        " write 'parameters: {weight: …}' under it",
    ),
    "missing weight, no base": (
        LINEAR.replace("    parameters: {weight: 1}\n", "", 1),
        "3: model 'a' has no 'weight', which linear needs of every model; write 'parameters: {weight: …}' under it",
    ),
    "missing t": (
        SLERP + "models: [{model: a}, {model: b}]\n",
        "1: slerp needs the setting 't' (a finite number); write it under 'parameters'",
    ),
    "parameters as list": (
        TIES + "parameters: [1]\n",
        "6: 'parameters' must be a mapping ('key: value' lines), not a list",
    ),
    # values
    "out of bounds": (ties_with(weight="1", density="1.5"), "5: 'density' must be a number from 0 to 1, not 1.5"),
    "gradient out of bounds": (
        ties_with(weight="1", density="[1, -0.5]"),
        "5: 'density' must be a number from 0 to 1, not -0.5",
    ),
    "structural gradient": (
        TIES + "parameters: {normalize: [0, 1]}\n",
        "6: 'normalize' must be true or false; it cannot vary over layers",
    ),
    "not a boolean": (TIES + "parameters: {normalize: 0.5}\n", "6: 'normalize' must be true or false, not 0.5"),
    "not a choice": (TIES + "parameters: {rescale: l2}\n", "6: 'rescale' must be one of false, l1, not 'l2'"),
    "empty gradient": (TIES + "parameters: {lambda: []}\n", "6: 'lambda' is an empty list"),
    "nan": (TIES + "parameters: {lambda: .nan}\n", "6: 'lambda' must be a finite number, not .nan"),
    "infinite": (TIES + "parameters: {lambda: [0, .inf]}\n", "6: 'lambda' must be a finite number, not .inf"),
    "infinite text": (TIES + "parameters: {lambda: 1e999}\n", "6: 'lambda' must be a finite number, not '1e999'"),
    "huge": (
        TIES + f"parameters: {{lambda: 1{'0' * 400}}}\n",
        f"6: 'lambda' must be a finite number, not 1{'0' * 58}…",
    ),
    "no number": (TIES + "parameters: {lambda: abc}\n", "6: 'lambda' must be a finite number, not 'abc'"),
    "no value": (TIES + "parameters: {lambda: }\n", "6: 'lambda' must be a finite number, not nothing"),
    "nested list": (TIES + "parameters: {lambda: [1, [2]]}\n", "6: 'lambda' must be a finite number, not a list"),
    "mixed list": (
        TIES + "parameters: {lambda: [1, {value: 2}]}\n",
        "6: the list of 'lambda' mixes numbers and '{filter, value}' entries; it may hold either",
    ),
    "filter without value": (TIES + "parameters: {lambda: {filter: x}}\n", "6: an entry of 'lambda' has no 'value'"),
    "filter as list": (
        TIES + "parameters: {lambda: {filter: [x], value: 1}}\n",
        "6: 'filter' must be text that names of tensors contain, not a list",
    ),
    "unknown filter key": (
        TIES + "parameters: {lambda: {fliter: x, value: 1}}\n",
        f"6: an entry of 'lambda' has no key 'fliter'; did you mean 'filter'? Keys: filter, value. {IGNORED}",
    ),
    # other keys
    "dtype": (TIES + "dtype: bf16\n", f"6: there is no dtype 'bf16'; did you mean 'bfloat16'? A{DTYPES}"),
    "whole dtype": (TIES + "out_dtype: int64\n", f"6: dtype 'int64' would round weights to whole numbers; a{DTYPES}"),
    "dtype as list": (TIES + "out_dtype: [1]\n", "6: 'out_dtype' must be text, not a list"),
    "negative seed": (TIES + "seed: -1\n", "6: 'seed' must be a whole number of at least 0, not -1"),
    "seed as text": (TIES + "seed: x\n", "6: 'seed' must be a whole number of at least 0, not 'x'"),
    "seed as boolean": (TIES + "seed: true\n", "6: 'seed' must be a whole number of at least 0, not true"),
    "empty name": (TIES + "name:\n", "6: 'name' must be text, not nothing"),
    # numbers of models
    "slerp of three": (
        SLERP + "models: [{model: a}, {model: b}, {model: c}]\nparameters: {t: 1}\n",
        "3: slerp takes exactly two models, 'base_model' (a) and one other; here are: a, b, c",
    ),
    "slerp of one": (
        SLERP + "models: [{model: a}]\nparameters: {t: 1}\n",
        "3: slerp takes exactly two models, 'base_model' (a) and one other; here are: a",
    ),
    "slerp of two others": (
        SLERP + "models: [{model: b}, {model: c}]\nparameters: {t: 1}\n",
        "3: slerp takes exactly two models, 'base_model' (a) and one other; here are: b, c",
    ),
    "passthrough of two": (
        "merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n",
        "2: passthrough takes exactly one model per slice, not 2; give each a slice of its own under 'slices'",
    ),
    # slices
    "empty range": (STACK.replace("[0, 2]", "[2, 0]"), f"5: {RANGE} [2, 0]"),
    "negative range": (STACK.replace("[0, 2]", "[-1, 2]"), f"5: {RANGE} [-1, 2]"),
    "range of three": (STACK.replace("[0, 2]", "[0, 1, 2]"), f"5: {RANGE} [0, 1, 2]"),
    "range of fractions": (STACK.replace("[0, 2]", "[0, 1.5]"), f"5: {RANGE} [0, 1.5]"),
    "range of booleans": (STACK.replace("[0, 2]", "[false, true]"), f"5: {RANGE} [false, true]"),
    "range as text": (STACK.replace("[0, 2]", "0-2"), f"5: {RANGE} '0-2'"),
    "no range": (
        STACK.replace("      layer_range: [0, 2]\n", ""),
        "4: this source has no 'layer_range'; write 'layer_range: [0, 16]' (the end is not included)",
    ),
    "no sources": ("merge_method: passthrough\nslices:\n  - parameters: {}\n", "3: a slice has no 'sources'"),
    "empty sources": ("merge_method: passthrough\nslices:\n  - sources: []\n", "3: 'sources' is an empty list"),
    "ranges of different length": (
        STACK + "    - model: b\n      layer_range: [0, 3]\n",
        "6: this source has 3 layers and the first has 2; in a slice all have equally many",
    ),
    "range under models": (
        ONE + "[{model: a, layer_range: [0, 2]}]\n",
        "2: 'layer_range' has no place under 'models', which merges whole models; use 'slices' with 'sources'."
        f" {IGNORED}",
    ),
    "base without a range": (
        "merge_method: ties\nbase_model: a\nparameters: {weight: 1}\nslices:\n  - sources:\n"
        "    - {model: b, layer_range: [0, 2]}\n    - {model: c, layer_range: [2, 4]}\n",
        "5: the base model (a) is not among the sources, whose layer ranges differ, so its own is unknown; list it with"
        " its 'layer_range'",
    ),
    # modules
    "no modules": ("merge_method: linear\nmodules: {}\n", "2: 'modules' is empty"),
    "modules as list": (
        "merge_method: linear\nmodules: [a]\n",
        "2: 'modules' must be a mapping ('key: value' lines), not a list",
    ),
    "empty module": (
        "merge_method: linear\nmodules:\n  text: {parameters: {}}\n",
        "3: module 'text' must have exactly one of models, slices; this one has none",
    ),
    # references
    "architecture": (
        ONE + "[{model: {model: a, override_architecture: X}}]\n",
        "2: 'override_architecture' is not supported: the architecture is read off the tensors; delete the line",
    ),
    "path outside": (
        ONE + "[{model: {path: a}}]\n",
        f"2: 'model' has no key 'path'. Keys: model, revision, lora. {IGNORED}",
    ),
    "no path": (ONE + "[{model: {model: {revision: y}}}]\n", "2: 'model' has no 'path'"),
    "no model in the mapping": (
        ONE + "[{model: {revision: x}}]\n",
        "2: 'model' has no 'model': write 'model: PATH', with 'revision' and 'lora' beside it",
    ),
    "two revisions": (
        ONE + "[{model: {model: {path: a, revision: x}, revision: y}}]\n",
        "2: 'model' has two revisions; delete one",
    ),
    # tokenizer
    "two tokenizers": (
        TIES + "tokenizer_source: base\ntokenizer: {source: base}\n",
        "7: a recipe has 'tokenizer' or 'tokenizer_source', not both",
    ),
    "tokenizer as text": (
        TIES + "tokenizer: base\n",
        "6: 'tokenizer' must be a mapping; write 'tokenizer_source: base'",
    ),
    "no source": (TIES + "tokenizer: {tokens: {}}\n", "6: 'tokenizer' has no 'source': base, union or a model"),
    "token": (TIES + "tokenizer: {source: base, tokens: {x: {force: true}}}\n", "6: token 'x' has no 'source'"),
    "kind": (
        TIES + "tokenizer: {source: base, tokens: {x: {source: {kind: one}}}}\n",
        "6: 'kind' must be model_token or zero, not 'one'",
    ),
    "model_token": (
        TIES + "tokenizer: {source: base, tokens: {x: {source: {kind: model_token, model: a}}}}\n",
        "6: 'source' of token 'x' must have 'model', and 'token' or 'token_id'",
    ),
    "force": (
        TIES + "tokenizer: {source: base, tokens: {x: {source: b, force: 1}}}\n",
        "6: 'force' must be true or false, not 1",
    ),
    "padding": (
        TIES + "tokenizer: {source: base, pad_to_multiple_of: 0}\n",
        "6: 'pad_to_multiple_of' must be a whole number of at least 1, not 0",
    ),
    "chat template": (
        TIES + "chat_template: chatlm\n",
        f"6: there is no chat template 'chatlm'; did you mean 'chatml'? {NAMES}",
    ),
    # documents
    "duplicate name": (
        f"name: a\n{LINEAR}---\nname: a\n{LINEAR}",
        "9: two recipes are called 'a', on lines 1 and 9; give each a 'name' of its own",
    ),
    "two results": (
        f"{LINEAR}---\nname: y\n{LINEAR}",
        "8: 2 recipes are used by no other: the unnamed one (line 1), 'y' (line 8). Exactly one may be, the result;"
        " refer to the others by their 'name'.",
    ),
    "circle": (
        f"name: x\n{LINEAR.replace('model: a', 'model: y')}---\nname: y\n{LINEAR.replace('model: a', 'model: x')}",
        "1: the recipes refer to one another in a circle: x → y → x",
    ),
    "circle of one": (f"name: a\n{LINEAR}", "1: the recipes refer to one another in a circle: a → a"),
    "two seeds": (
        f"name: c\n{LINEAR}seed: 1\n---\n{LINEAR.replace('model: a', 'model: c')}seed: 2\n",
        "16: the seed is 2 here and 1 on line 8; a recipe has one",
    ),
    # YAML
    "duplicate key": (
        TIES + "dtype: float32\ndtype: float16\n",
        "7: 'dtype' stands twice, on lines 6 and 7; delete one of them",
    ),
    "duplicate setting": (
        "merge_method: linear\nparameters:\n  weight: 1\n  weight: 2\n",
        "4: 'weight' stands twice, on lines 3 and 4; delete one of them",
    ),
    "two recipes in one": (
        LINEAR + TIES,
        "7: 'merge_method' stands twice, on lines 1 and 7. Is a '---' line missing above line 7, between two recipes?",
    ),
    "tab": ("a: 1\n\tb: 2\n", "2:1: a tab stands where YAML allows only blanks; indent with blanks"),
    "unclosed": ("a: [1, 2\n", "2:1: expected ',' or ']', but got '<stream end>'"),
    "backslash": (
        'model: "C:\\models\\x"\n',
        "1:12: found unknown escape character 'm'; in double quotes a backslash starts an escape, so write the path in"
        " single quotes",
    ),
    "alias": ("a: *x\n", "1:4: found undefined alias 'x'"),
    "colons": ("a: b: c\n", "1:5: mapping values are not allowed here"),
    "control character": ("a: b\nb: \x00\n", "2: the character 0x0000 is not allowed in YAML"),
    "alias in itself": ("a: &a [*a]\n", "1: the text is nested deeper than 40 levels, or an alias holds itself"),
    "depth": ("[" * 600 + "]" * 600 + "\n", "1: the text is nested deeper than 40 levels"),
    "tag": ("a: !!python/object:os.system x\n", "1: the tag '!!python/object:os.system' has no meaning in a recipe"),
    "merge of a number": ("<<: 3\n", "1: '<<' takes a mapping, or a list of mappings"),
    "list as key": ("? [a]\n: b\n", "1: a key must be plain text, not a list or a mapping"),
    "many laughs": (BOMB, "1: the recipe has more than 100,000 values once aliases are expanded"),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name):
    text, expected = CASES[name]
    with pytest.raises(InputError) as caught:
        read_text(text, "recipe.yml")
    message = str(caught.value)
    assert message[: len(expected) + 11] == f"recipe.yml:{expected}"
    assert name == "wrong method" or len(message) == len(expected) + 11


def test_messages_stay_on_one_line():
    with pytest.raises(InputError) as caught:
        read_text('merge_method: "a\\nb"\nmodels: []\n', "recipe.yml")
    assert str(caught.value).startswith("recipe.yml:1: there is no merge method 'a\\nb'")


def test_lenient_notes_what_mergekit_ignores():
    text = TIES.replace("1}", "1, wieght: 2, normalize: true}\n    layer_range: [0, 2]") + "paramters: {}\n"
    recipe = read_text(text, "recipe.yml", lenient=True)
    assert recipe == read_text(TIES, "recipe.yml")
    assert [note.partition(" has no ")[0] for note in recipe.notes] == [
        "recipe.yml:7: ignored: a recipe",
        "recipe.yml:6: ignored: 'layer_range'",
        "recipe.yml:5: ignored: ties",
        "recipe.yml:5: ignored: 'normalize' holds for all models alike, so it",
    ]


def test_residual_weight_is_noted():
    recipe = read_text(STACK + "    residual_weight: 0.5\n", "recipe.yml")
    assert recipe.notes == ("recipe.yml:6: 'residual_weight' has no effect: mergekit never reads it either",)


def test_an_escape_that_stands_for_no_character():
    with pytest.raises(InputError, match="recipe:1: the text holds an escape that stands for no character"):
        read_text('merge_method: "\\UFFFFFFFF"\n', "recipe")
