"""Faults of reading: videos, the clip cache, DICOM, damaged files."""

from tests.faults import Fault

READERS = ("tests/readers/test_against_references.py",)
READING = ("tests/readers/test_partial_reading.py",)
CACHE = ("tests/storage/test_clipcache.py",)
DICOM = ("tests/readers/test_dicom.py",)
CORRUPT = ("tests/readers/test_damaged_files.py",)
AVI, VIDEO, PYAV = "etab/readers/avi.py", "etab/readers/video.py", "etab/readers/container.py"
CLIPS = "etab/storage/clipcache.py"
PICTURES = "etab/datasets/pictures.py"
HEADER = "etab/readers/dicom_header.py"
OBJECT, SECTOR, SOURCE = "etab/readers/dicom.py", "etab/echo/sector.py", "etab/datasets/dicom.py"

FILES = ("tests/test_files.py",)
_OWN_FILES = "tests/datasets/test_own_files.py"
BOMBS = ("tests/readers/test_bombs.py",)
_LARGE = ("tests/readers/test_large_files.py",)
MAPS = ("tests/features/test_maps_asked_for.py",)
PARQUET = ("tests/readers/test_parquet.py",)

FAULTS = [
    Fault(
        "a grey photograph lies on its side",
        "etab/readers/pictures.py",
        "_decoded(path, raw, cv2.IMREAD_GRAYSCALE)",
        "_decoded(path, raw, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)",
        (f"{_OWN_FILES}::test_a_picture_lies_as_its_camera_says",),
    ),
    Fault(
        "what nobody sees in a picture is read",
        "etab/readers/still.py",
        "if is_seen_through.any():",
        "if False:",
        (f"{_OWN_FILES}::test_what_is_transparent_is_black_or_refused",),
    ),
    Fault(
        "fractions of a mask are cut off",
        "etab/readers/pictures.py",
        'if values.dtype.kind == "f" and not',
        "if False and not",
        (f"{_OWN_FILES}::test_masks_without_whole_numbers_are_refused",),
    ),
    Fault(
        "pixels beside a header are no part of the data",
        "etab/datasets/own/source.py",
        "beside = {file for path in listed for file in files_beside(path)}",
        "beside = set[Path]()",
        (f"{_OWN_FILES}::test_pixels_beside_a_header_belong_to_the_data",),
    ),
    Fault(
        "a film that players turn is read as it is stored",
        "etab/readers/container.py",
        "    if degrees:\n",
        "    if False:\n",
        (f"{_OWN_FILES}::test_a_film_that_players_turn_is_refused",),
    ),
    Fault(
        "what a decoder makes up for a damaged frame is read as a frame",
        "etab/readers/container.py",
        "            if frame.is_corrupt:\n                raise",
        "            if False:\n                raise",
        ("tests/readers/test_partial_reading.py::test_damage_that_the_decoder_hides_is_named",),
    ),
    Fault(
        "a folder of an impossible name ends a run",
        "etab/files.py",
        "        if error.errno != errno.ENAMETOOLONG:\n            raise\n        return False",
        "        raise",
        ("tests/storage/test_listing.py::test_a_folder_that_cannot_exist_holds_nothing",),
    ),
    Fault(
        "errors that Arrow alone has end a run without words",
        "etab/readers/parquet.py",
        "        except Exception as error:  # pyarrow",
        "        except (OSError, ValueError) as error:  # pyarrow",
        (
            "tests/readers/test_damaged_sounds_and_tables.py"
            "::test_every_error_of_arrow_is_told_with_its_file",
        ),
    ),
    Fault(
        "pyarrow is asked for the parts of a footer",
        "etab/readers/parquet.py",
        "                with pyarrow.parquet.ParquetFile(stream) as file:\n                    yield",
        "                with pyarrow.parquet.ParquetFile(stream) as file:\n"
        "                    m = file.metadata\n"
        "                    for i in range(m.num_row_groups):\n"
        "                        g = m.row_group(i)\n"
        "                        [g.column(k) for k in range(g.num_columns)]\n"
        "                    yield",
        (*PARQUET, "-m", "slow or not slow", "-k", "ends_the_process"),
    ),
    Fault(
        "a list of a footer has any length",
        "etab/readers/parquet_footer.py",
        "        if n > left:\n",
        "        if False:\n",
        PARQUET,
    ),
    Fault(
        "a text that is stored once is unpacked in each row",
        "etab/readers/parquet.py",
        "if sum(one.n_bytes * one.n_values for one in texts) <= largest:",
        "if True:",
        PARQUET,
    ),
    Fault(
        "texts in lists are unpacked",
        "etab/readers/parquet.py",
        "            if lists:\n",
        "            if False:\n",
        PARQUET,
    ),
    Fault(
        "a file in a folder that may not be searched is missing",
        "etab/files.py",
        "return error.errno != errno.ENAMETOOLONG",
        "return False",
        (
            "tests/test_files.py"
            "::test_a_file_in_a_folder_that_may_not_be_searched_is_not_called_missing",
        ),
    ),
    Fault(
        "maps are stored where no head reads them",
        "etab/runs/execute.py",
        "maps = any(reads_maps(run) for run in waiting)",
        "maps = True",
        MAPS,
    ),
    Fault(
        "features with maps are computed again without them",
        "etab/features/store.py",
        "if fuller is not None:",
        "if False:",
        MAPS,
    ),
    Fault(
        "an exit of a cell is not recorded",
        "etab/runs/execute.py",
        "except BaseException as error:\n            # Nothing",
        "except Exception as error:\n            # Nothing",
        MAPS,
    ),
    Fault(
        "a file of any size is read as a whole",
        "etab/files.py",
        "if size > largest:",
        "if False:",
        FILES,
    ),
    Fault(
        "a packed file may claim any size",
        "etab/files.py",
        "return unpacked > largest_unpacked(stored)",
        "return False",
        (*FILES, *BOMBS),
    ),
    Fault(
        "an index may lead to one frame without end",
        "etab/readers/container.py",
        "if len(numbers) * size[0] * size[1] > MAX_CLIP_BYTES:",
        "if False:",
        BOMBS,
    ),
    Fault(
        "frames of a codec have any size",
        "etab/readers/container.py",
        "and size.height * size.width <= _MAX_PIXELS",
        "",
        BOMBS,
    ),
    Fault(
        "frames count as those whose times they have",
        "etab/readers/container.py",
        "frame.key_frame if is_first else number == last + 1",
        "True",
        (
            "tests/readers/test_partial_reading.py::"
            "test_a_frame_is_the_same_alone_where_times_are_damaged",
        ),
    ),
    Fault(
        "a name too long for a file ends the reading of BMD-HS",
        "etab/datasets/bmdhs.py",
        "if not is_file(self._paths(record)[0])]",
        "if not self._paths(record)[0].is_file()]",
        ("tests/datasets/test_bmdhs.py::test_a_name_too_long_for_a_file_is_missing",),
    ),
    Fault(
        "a name too long for a file ends the check of lists",
        "etab/datasets/integrity/listed.py",
        "if is_file(root / name)]",
        "if (root / name).is_file()]",
        ("tests/datasets/test_check.py::test_lists_with_names_too_long_for_a_file",),
    ),
    Fault(
        "rows of a brought encoder have any size",
        "etab/backbones/own/inputs.py",
        "n_values <= _MOST_VALUES,",
        "True,",
        ("tests/backbones/test_function.py",),
    ),
    Fault(
        "a deflated object is unpacked",
        "etab/readers/dicom_header.py",
        "        _refuse_deflated(path, file, first)\n",
        "",
        BOMBS,
    ),
    Fault(
        "a line of a packed table has any length",
        "etab/datasets/mimic_tables.py",
        "csv.DictReader(_short_lines(file))",
        "csv.DictReader(file)",
        BOMBS,
    ),
    Fault(
        "an archive of weights may claim any size",
        "etab/backbones/weights/index.py",
        "    if claimed:\n",
        "    if False:\n",
        BOMBS,
    ),
    Fault(
        "a matrix of weights may claim any size",
        "etab/backbones/weights/formats.py",
        "if dataset.size > _MOST_VALUES:",
        "if False:",
        BOMBS,
    ),
    Fault(
        "a picture is decoded at the size that it claims",
        "etab/readers/pictures.py",
        "if not all(1 <= side <= LARGEST_SIDE for side in size):",
        "if False:",
        BOMBS,
    ),
    Fault(
        "half a mask is a mask",
        "etab/readers/pictures.py",
        'whole_png(path) if path.suffix.lower() == ".png" else',
        'read_file(path) if path.suffix.lower() == ".png" else',
        BOMBS,
    ),
    Fault(
        "a chunk of an array may unpack to any size",
        "etab/readers/zarr_store.py",
        "                if size > limit:\n",
        "                if False:\n",
        BOMBS,
    ),
    Fault(
        "chunks of a shard may unpack to any size",
        "etab/readers/zarr_packing.py",
        "                yield content[start : start + size]\n",
        "                pass\n",
        BOMBS,
    ),
    Fault(
        "an index of a shard in the other order hides its chunks",
        "etab/readers/zarr_packing.py",
        'if _word(shard.index_codecs[0].endian) != "little":',
        "if False:",
        BOMBS,
    ),
    Fault(
        "a chunk may be packed twice",
        "etab/readers/zarr_packing.py",
        "if len(names) > 1 or not set(names)",
        "if not set(names)",
        BOMBS,
    ),
    Fault(
        "a chunk may be packed by any codec",
        "etab/readers/zarr_packing.py",
        "    if len(names) > 1 or not set(names) <= set(_PACKERS):\n",
        "    names = [name for name in names if name in _PACKERS]\n    if len(names) > 1:\n",
        BOMBS,
    ),
    Fault(
        "any text is a digest of an array",
        "etab/datasets/echoxflow_tables.py",
        'if len(text) != 64 or not set(text) <= set("0123456789abcdef"):',
        "if False:",
        ("tests/datasets/test_echoxflow.py",),
    ),
    Fault(
        "a store of arrays may lead out",
        "etab/readers/zarr_store.py",
        "self._require_files(held)",
        "",
        BOMBS,
    ),
    Fault(
        "the index is read one frame late",
        AVI,
        "where[list(numbers)].tolist()",
        "where[[max(n - 1, 0) for n in numbers]].tolist()",
        READERS,
    ),
    Fault(
        "a second stream is taken for frames",
        AVI,
        "if name == stream:",
        "if True:",
        READING,
    ),
    Fault(
        "lists of frames are not looked into",
        AVI,
        'if name == b"LIST" and depth < _DEPTH:',
        "if False:",
        READING,
    ),
    Fault("an index of a part is trusted", AVI, "or len(avi.movi) > 1", "", READING),
    Fault(
        "an empty chunk is no repetition", AVI, "if not where[:, 1].all():", "if False:", READING
    ),
    Fault(
        "a damaged JPEG is greyed over",
        VIDEO,
        "if not any(text in str(error) for text in _HARMLESS):",
        "if False:",
        READING,
    ),
    Fault(
        "frames of a codec off by one",
        PYAV,
        "            if last == i:\n                decoded[i] = grey(frame)",
        "            if last == max(i - 1, 0):\n                decoded[i] = grey(frame)",
        READING,
    ),
    Fault(
        "each frame is decoded from the start",
        PYAV,
        "decoded = _seek_and_decode(",
        "decoded = {} and _seek_and_decode(",
        READING,
    ),
    Fault(
        "cached clips are not verified",
        CLIPS,
        " and xxh3_64_intdigest(pixels.data) == entry.checksum",
        "",
        CACHE,
    ),
    Fault(
        "headers of cached clips are not verified",
        CLIPS,
        "header_checksum != xxh3_64_intdigest(_MAGIC + block[8:_SUMMED])",
        "False",
        CACHE,
    ),
    Fault("a damaged clip comes back", CLIPS, "        part.strike(entry)\n", "", CACHE),
    Fault("a torn clip stays in its part", CLIPS, "file.truncate(offset)", "pass", CACHE),
    Fault(
        "the key forgets the file's time",
        CLIPS,
        "/{status.st_size}/{status.st_mtime_ns}",
        "/{status.st_size}",
        CACHE,
    ),
    Fault(
        "the key forgets the frames", CLIPS, "np.asarray(numbers, np.int64).tobytes()", "b''", CACHE
    ),
    Fault(
        "the key forgets size and padding",
        PICTURES,
        'options.size, options.padding, "cv2',
        '"cv2',
        CACHE,
    ),
    Fault("the cache is never used", PICTURES, "if self.cache is None:", "if True:", CACHE),
    Fault(
        "inverted pictures stay inverted", OBJECT, "return 255 - frame if", "return frame if", DICOM
    ),
    Fault(
        "a region of another picture is trusted",
        HEADER,
        "return 0 <= self.x0 < self.x1 < columns and 0 <= self.y0 < self.y1 < rows",
        "return True",
        DICOM,
    ),
    Fault(
        "spacing of regions swapped",
        HEADER,
        'height = abs(_float(part, "PhysicalDeltaY") or 0)',
        'height = abs(_float(part, "PhysicalDeltaX") or 0)',
        DICOM,
    ),
    Fault(
        "frame time read as a rate",
        HEADER,
        "return 1000 / milliseconds if",
        "return milliseconds if",
        DICOM,
    ),
    Fault(
        "codestreams of any size are decoded",
        OBJECT,
        "if size is not None and size != (info.rows, info.columns):",
        "if False:",
        DICOM,
    ),
    Fault(
        "text around the sector is shown",
        SECTOR,
        "return np.where(self.mask, cropped",
        "return np.where(True, cropped",
        DICOM,
    ),
    Fault(
        "bars count as picture",
        SECTOR,
        "return _packed(_hull(patch) & allowed)",
        "return _packed(seen & allowed | allowed)",
        DICOM,
    ),
    Fault(
        "what cannot be masked is handed out",
        SECTOR,
        "if patch.sum() >= least_pixels:",
        "if True:",
        DICOM,
    ),
    Fault(
        "patients keep their numbers",
        SOURCE,
        '"p" + _digest("patient", info.patient or info.study or name)',
        "info.study",
        DICOM,
    ),
    Fault(
        "the secret key does nothing", SOURCE, 'os.environ.get("ETAB_DICOM_KEY", "")', '""', DICOM
    ),
    Fault(
        "spectra count as pictures",
        SOURCE,
        "if info.regions and not tissue_planes(info):",
        "if False:",
        DICOM,
    ),
    Fault("labels may climb out", SOURCE, 'or ".." in PurePosixPath(name).parts', "", DICOM),
    Fault(
        "gzip past its promise is read",
        "etab/readers/nifti.py",
        "if not stream.eof and stream.unconsumed_tail:",
        "if False:",
        (*CORRUPT, "-m", "slow or not slow", "-k", "nii.gz"),
    ),
    Fault(
        "pipes are waited for",
        "etab/files.py",
        "os.O_RDONLY | _NO_WAITING | _BINARY",
        "os.O_RDONLY | _BINARY",
        CORRUPT,
    ),
    Fault(
        "a volume of any size is read to its end",
        "etab/readers/geometry.py",
        "if n_bytes > promised + promised // 1000 + _BESIDE_PIXELS:",
        "if False:",
        _LARGE,
    ),
    Fault(
        "a FLAC file of any size is read to its end",
        "etab/readers/flac.py",
        "if size > most:",
        "if False:",
        _LARGE,
    ),
    Fault(
        "cached features of any size are read to their end",
        "etab/features/entries.py",
        "if (folder / name).stat().st_size != size:",
        "if False:",
        _LARGE,
    ),
    Fault(
        "an entry of a challenge that is a pipe is waited for",
        "etab/challenges/unpack.py",
        "if not entry.is_dir() and not entry.is_file():",
        "if False:",
        _LARGE,
    ),
    Fault(
        "an entry may lose a file",
        "etab/features/entries.py",
        'if set(entry["files"]) != names or entry.get("sha256") != _entry_digest(entry):',
        "if False:",
        (*CORRUPT, "-m", "slow or not slow", "-k", "features"),
    ),
    Fault(
        "clips are cached before they are masked",
        "etab/datasets/objects.py",
        "self._sector(record).cut(read_dicom(self._path(record), at))",
        "read_dicom(self._path(record), at)[:, slice(*self._sector(record).box[:2]), slice(*self._sector(record).box[2:])]",
        ("tests/readers/test_dicom.py::test_what_is_hidden_never_reaches_the_disk",),
    ),
    Fault(
        "every clip stays in memory",
        AVI,
        "        os.close(self._number)\n\n    def read(",
        "        os.close(self._number)\n        Bytes.kept = [*getattr(Bytes, 'kept', []), self._first]\n\n    def read(",
        ("tests/readers/test_partial_reading.py::test_memory_is_flat_over_thousands_of_clips",),
    ),
    Fault(
        "a chunk of gigabytes is asked for",
        "etab/readers/audio.py",
        "body = file.read(min(length, size - start))",
        "body = file.read(length)",
        (
            "tests/readers/test_damaged_sounds_and_tables.py",
            "-m",
            "slow or not slow",
            "-k",
            "wav and list and terabytes",
        ),
    ),
    Fault(
        "the withdrawn are a difference",
        "etab/datasets/cinc2016.py",
        "ALL if unnamed else ALL - WITHDRAWN",
        "ALL - WITHDRAWN",
        ("tests/datasets/test_check.py::test_withdrawn_recordings_are_no_difference",),
    ),
    Fault(
        "any count is a published one",
        "etab/datasets/cinc2016.py",
        "not self._gone and self._of_e(self.records()) > ALL_E - WITHDRAWN",
        "True",
        ("tests/datasets/test_check.py::test_other_counts_are_differences_still",),
    ),
    Fault(
        "an error repeats the numbers of a damaged file",
        "etab/errors.py",
        "|[^A-Za-z]{400,}",
        "",
        FILES,
    ),
    Fault(
        "a pipe is read like a file",
        "etab/readers/regular.py",
        "if stat.S_ISREG(status.st_mode):",
        "if not stat.S_ISDIR(status.st_mode):",
        (
            "tests/readers/test_fuzz.py::test_what_is_no_file_is_named[table-device]",
            "tests/readers/test_fuzz.py::test_what_is_no_file_is_named[png-pipe]",
        ),
    ),
    Fault(
        "what a library raises reaches the user",
        "etab/readers/dicom_header.py",
        "FOREIGN = (Exception,)",
        "FOREIGN = (OSError,)",
        ("tests/readers/test_damaged_files.py",),
    ),
]
