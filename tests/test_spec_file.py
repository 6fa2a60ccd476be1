"""The daemon's spec on its host: what is no plain file is said as what it is."""

import pytest

from onearm.errors import Denied
from onearm.model import SpecFile
from onearm.places import spec_file


@pytest.mark.parametrize("verb", ["read", "written"])
def test_a_folder_in_its_place_is_said(tmp_path, verb):
    path = tmp_path / "web.yaml"
    path.mkdir()
    wanted = SpecFile(str(path), spec_file.quoted("name: web"))
    with pytest.raises(Denied, match=rf"cannot be {verb} \(Is a directory\): let it be a plain"):
        spec_file.read([wanted]) if verb == "read" else spec_file.write(wanted)
