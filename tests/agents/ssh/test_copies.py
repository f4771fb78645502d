"""Which commands copy files."""

import time

import pytest

from teleport.agents.ssh.copies import Copy, recognise


@pytest.mark.parametrize(
    ("command", "copy"),
    [
        ("scp -t /tmp/x", Copy("scp", "upload", "/tmp/x")),
        ("scp -r -p -d -f -- 'a b'", Copy("scp", "download", "a b")),
        ("scp -rpt .", Copy("scp", "upload", ".")),
        ("/usr/bin/scp -f x", Copy("scp", "download", "x")),
        ("rsync --server -vlogDtpre.iLsfxCIvu . /srv/a /srv/b", Copy("rsync", "upload", "/srv/a /srv/b")),
        ("rsync --server --sender -vlogDtpre.iLsfxCIvu . /srv", Copy("rsync", "download", "/srv")),
        ("rsync --server -s", Copy("rsync", "upload", "")),
        ("/usr/lib/openssh/sftp-server", Copy("sftp")),
    ],
)
def test_the_server_side_of_a_client_is_recognised_with_path_and_direction(command: str, copy: Copy) -> None:
    assert recognise(command) == copy


@pytest.mark.parametrize(
    "command",
    [
        "sudo -u www rsync --server . x", "cd /srv && scp -t x", "scp -t x; id", "scp -t x\nid", "scp -f $(id)",
        "scp -f `id`", "A=b scp -f x", "/home/ann/bin/scp -f x", "./scp -f x", "scp -f x | tee y", "scp -f x > y",
        f"scp -f {'x' * 9000}",
    ],
)  # fmt: skip
def test_a_copy_among_other_things_is_one_but_what_it_prints_is_more_than_files(command: str) -> None:
    copy = recognise(command)

    assert copy is not None
    assert not copy.alone


@pytest.mark.parametrize(
    "command",
    [
        "", "echo works", "scp a b:c", "scp -r -P 22 a b:", "rsync -a a b:c", "man scp", "which rsync sftp",
        "git-upload-pack 'x'",
    ],
)  # fmt: skip
def test_other_commands_are_no_copies(command: str) -> None:
    assert recognise(command) is None


@pytest.mark.parametrize("word", ["x ", "scp ", "'scp' ", "rsync ", "\\", "'", ";"])
def test_a_long_command_is_looked_at_in_little_time(word: str) -> None:
    command, begin = word * (120_000 // len(word)), time.process_time()

    recognise(command)

    assert time.process_time() - begin < 0.5
