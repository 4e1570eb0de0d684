"""Network connections, normal ones and attacks (NSL-KDD)."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jaxflow.data.dataset import Dataset
from jaxflow.data.sets.placed_file import gzip_content, placed_file
from jaxflow.data.tables.frame import as_frame

FOLDER = "nsl_kdd"
CONTENT_SHA256 = {
    "KDDTrain+_20Percent.txt.gz": "7ea86479faab5ca2190b7f18b4982fb058ce5bf2b46e0e1017d0d9ef90f9c16e",
    "KDDTest+.txt.gz": "fa46b0935342616aa83b7c2578db355b6a7aaabbc492248172c7a1e8b7ab8f84",
}
"""The two files, training and test, with the checksum of the text inside: compressing it again gives another file."""

FEATURES = (
    *("duration", "protocol_type", "service", "flag", "src_bytes", "dst_bytes", "land", "wrong_fragment", "urgent"),
    *("hot", "num_failed_logins", "logged_in", "num_compromised", "root_shell", "su_attempted", "num_root"),
    *("num_file_creations", "num_shells", "num_access_files", "num_outbound_cmds", "is_host_login", "is_guest_login"),
    *("count", "srv_count", "serror_rate", "srv_serror_rate", "rerror_rate", "srv_rerror_rate", "same_srv_rate"),
    *("diff_srv_rate", "srv_diff_host_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_srv_rate"),
    *("dst_host_diff_srv_rate", "dst_host_same_src_port_rate", "dst_host_srv_diff_host_rate", "dst_host_serror_rate"),
    *("dst_host_srv_serror_rate", "dst_host_rerror_rate", "dst_host_srv_rerror_rate"),
)
"""As the task description of KDD Cup 1999 has them."""

TEXTS = ("protocol_type", "service", "flag")
ATTACK, DIFFICULTY = "attack", "difficulty"  # the last two columns of the files, which have no header
NORMAL = "normal"

FAMILIES = {
    "DoS": "apache2 back land mailbomb neptune pod processtable smurf teardrop udpstorm",
    "Probe": "ipsweep mscan nmap portsweep saint satan",
    "R2L": "ftp_write guess_passwd imap multihop named phf sendmail snmpgetattack snmpguess spy warezclient "
    "warezmaster worm xlock xsnoop",
    "U2R": "buffer_overflow httptunnel loadmodule perl ps rootkit sqlattack xterm",
}
"""The attacks of each family: denial of service; probing; from remote to local; from user to root."""


def load_nsl_kdd() -> Dataset:
    """25,192 connections published to learn from (13,449 of them normal), 22,544 to test on (9,711 normal).

    The rows of the 20 % training file come first, then those of KDDTest+ (Tavallaee et al. 2009). 41 features, of which
    protocol_type, service and flag are texts. Every attack has the label 1. `kinds` has the `family` (DoS, Probe, R2L,
    U2R) and the `attack` of each row, "normal" for normal ones. Where authors differ about a family, attacks are put so
    that the test rows of the four are 7,458, 2,421, 2,754 and 200, the counts most of them give; others count
    httptunnel to R2L and worm to DoS. The files' last column, how many of 21 classifiers knew the row, is left out.

    Raises:
        InputError: when `$JAXFLOW_DATA` does not have the files, which have no stable address to download them from, or
            a file has other rows.
    """
    tables = [_table(file) for file in CONTENT_SHA256]
    table = pa.concat_tables(tables)
    frame = as_frame(table.select(FEATURES))
    attack = np.array(table.column(ATTACK).to_pylist())
    family_of = {NORMAL: NORMAL} | {name: family for family, names in FAMILIES.items() for name in names.split()}
    return Dataset(
        FOLDER,
        frame.x,
        (attack != NORMAL).astype(np.int64),
        frame.names,
        frame.categories,
        kinds={"family": np.array([family_of[name] for name in attack]), "attack": attack},
        for_test=np.repeat([False, True], [len(table) for table in tables]),
    )


def _table(file: str) -> Any:
    advice = f"it is not downloaded, so put {file.removesuffix('.gz')} of NSL-KDD there, compressed by gzip"
    text = gzip_content(placed_file(FOLDER, file, advice), CONTENT_SHA256[file], "text")
    names = [*FEATURES, ATTACK, DIFFICULTY]
    types = {name: pa.string() if name in (*TEXTS, ATTACK) else pa.float64() for name in names}
    return csv.read_csv(
        io.BytesIO(text),
        read_options=csv.ReadOptions(column_names=names),
        convert_options=csv.ConvertOptions(column_types=types),
    )
