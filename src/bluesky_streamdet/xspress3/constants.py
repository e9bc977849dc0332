"""The Xspress3 SDK's numbers, by its own names without their prefixes.

Source: the header `xspress3.h` and "Xspress API Manual V2.2.0". Each enumeration says which prefix its names have in C.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

MAX_PATHS = 34
MAX_CARDS = 16
MAX_CHANNELS_PER_CARD = 16
MAX_CHANNELS = 256
BINS_PER_MCA = 4096
MAX_ROI = 8
MIN_BITS_ENERGY = 1
MAX_BITS_ENERGY = 12
NUM_WINDOWS = 2
NUM_SCALERS = 9
ITFG_MAX_FRAMES = 0xFFFFFF
MAX_TICKS = 0xFFFFFFFF
MAX_FIXED_FRAME = 0xFFFFFF
MAX_DEBOUNCE = 0xFF
MAX_MESSAGE = 1024
MIN_EVENT_TIME = 2
MAX_EVENT_TIME = 127
NOMINAL_CLOCK_HZ = 80e6
FORMAT_PILEUP_REJECT = 1 << 31


class ErrorCode(IntEnum):
    """What a function returns when it fails: XSP3_..."""

    OK = 0
    ERROR = -1
    INVALID_PATH = -2
    ILLEGAL_CARD = -3
    ILLEGAL_SUBPATH = -4
    INVALID_DMA_STREAM = -5
    RANGE_CHECK = -6
    INVALID_SCOPE_MOD = -7
    OUT_OF_MEMORY = -8
    ERR_DEV_NOT_FOUND = -9
    CANNOT_OPEN_FILE = -10
    FILE_READ_FAILED = -11
    FILE_WRITE_FAILED = -12
    FILE_RENAME_FAILED = -13
    LOG_FILE_MISSING = -14
    WOULD_BLOCK = -20


class Generation(IntEnum):
    """XspressGeneration, as `xsp3_get_generation` returns it."""

    X3 = 0
    X3V7 = 1
    MINI = 2
    X4 = 3

    @property
    def label(self) -> str:
        """As it is written: X3, X3V7, Mini, X4."""
        return "Mini" if self is Generation.MINI else self.name


class RunFlags(IntFlag):
    """XSP3_RUN_FLAGS_..."""

    PLAYBACK = 0x1
    SCOPE = 0x2
    SCALERS = 0x4
    HIST = 0x8
    DIAG_HIST = 0x10
    CIRCULAR_BUFFER = 0x100


class ClockSource(IntEnum):
    """XSP3_CLK_SRC_..., XSP3M_CLK_SRC_... and XSP4_CLK_SRC_..."""

    INT = 0
    XTAL = 1
    EXT = 2
    FPGA = 3
    MINI_CDCM61004 = 0x10
    MINI_LMK61E2 = 0x11
    X4_MIDPLN_CDCM61004 = 0x20
    X4_MIDPLN_LMK61E2 = 0x21


class ClockFlags(IntFlag):
    """XSP3_CLK_FLAGS_..."""

    MASTER = 1 << 0
    NO_DITHER = 1 << 1
    STAGE1_ONLY = 1 << 2
    NO_CHECK = 1 << 3
    TP_ENB = 1 << 4
    DIS_OVER_TEMP = 1 << 5
    SHUTDOWN0 = 1 << 6
    SHUTDOWN123 = 1 << 7
    SHUTDOWN4 = 1 << 8
    SHUTDOWN5678 = 1 << 9
    SHUTDOWN1 = 1 << 10
    SHUTDOWN2 = 1 << 11
    SHUTDOWN3 = 1 << 12
    SHUTDOWN5 = 1 << 13
    SHUTDOWN6 = 1 << 14
    SHUTDOWN7 = 1 << 15
    SHUTDOWN8 = 1 << 16
    SHUTDOWN9 = 1 << 17
    TS_SYNC = 1 << 30


class TimeSource(IntEnum):
    """Where frames come from, bits 2..0 of timing register A: XSP3_GTIMA_SRC_... (FIXED is SOFTWARE)."""

    SOFTWARE = 0
    INTERNAL = 1
    SWENB_HWMARKER = 2
    IDC = 3
    TTL_VETO_ONLY = 4
    TTL_BOTH = 5
    LVDS_VETO_ONLY = 6
    LVDS_BOTH = 7


class TimeA(IntFlag):
    """Single bits of timing register A: XSP3_GLOB_TIMA_... ENB_SCALER, ENB_HIST, and the last four are the SDK's."""

    F0_INV = 1 << 3
    VETO_INV = 1 << 4
    ENB_SCALER = 1 << 5
    ENB_HIST = 1 << 6
    LOOP_IO = 1 << 7
    FRAME_CAPTURE = 1 << 14
    FROM_RADIAL = 1 << 15
    ITFG_RUN = 1 << 28
    COUNT_ENB = 1 << 29
    PB_RST = 1 << 30
    RUN = 1 << 31


TIME_A_SOURCE = 0x7
TIME_A_DEBOUNCE_SHIFT = 16
TIME_A_ALT_TTL_SHIFT = 24


class MarkerSource(IntEnum):
    """Bits 31..30 of timing register B: XSP3_GTIMB_IMRK_..."""

    TTL = 0
    SW = 1
    ITFG = 2


class TimeStatus(IntFlag):
    """Bits of the timing status register; bits 23..0 are the frame."""

    COUNTING = 1 << 24
    RUNNING = 1 << 25
    PAUSED = 1 << 26
    FINISHED = 1 << 27


TIME_STATUS_FRAME = 0xFFFFFF


class ItfgTrigger(IntEnum):
    """How the internal frame generator goes on: XSP3_ITFG_TRIG_MODE_..."""

    BURST = 0
    SOFTWARE = 1
    HARDWARE = 2
    PB0GLOB_RESET = 3
    SOFTWARE_ONLY_FIRST = 5
    HARDWARE_ONLY_FIRST = 6


class AcquireInPause(IntEnum):
    """Whether the internal frame generator counts while it is paused: XSP3_ITFG_TRIG_ACQ_PAUSED_..."""

    OFF = 0
    ALL = 1
    EXCL_FIRST = 2


class GapMode(IntEnum):
    """XSP3_ITFG_GAP_MODE_...; the times hold for a clock of 80 MHz, and scale with it."""

    NS25 = 0
    NS200 = 1
    NS500 = 2
    US1 = 3


GAP_CYCLES: dict[GapMode, int] = {GapMode.NS25: 2, GapMode.NS200: 16, GapMode.NS500: 40, GapMode.US1: 80}
"""Clock cycles between two frames."""
GAP_DEBOUNCE: dict[GapMode, int] = {GapMode.NS25: 0, GapMode.NS200: 10, GapMode.NS500: 30, GapMode.US1: 70}
"""Debounce, in clock cycles, of the cards that follow the first one's veto: shorter than the gap, or they miss it."""


class AltTtl(IntEnum):
    """What the TTL outputs show: XSP3_ALT_TTL_..."""

    TIMING_VETO = 0
    TIMING_ALL = 1
    TIMING_VETO_RUN = 2
    TIMING_VETO_GR = 4
    TIMING_ALL_GR = 5
    INWINDOW = 8
    INWINLIVE = 9
    INWINLIVETOGGLE = 0xA
    INWINGOODLIVE = 0xB
    INWINGOODLIVETOGGLE = 0xC


class Scaler(IntEnum):
    """Place of each number in what `xsp3_scaler_read` reads of a channel: XSP_SW_SCALER_..."""

    LIVE_TICKS = 0
    RESET_TICKS = 1
    NUM_RESETS = 2
    ALL_EVENT = 3
    ALL_GOOD = 4
    IN_WINDOW0 = 5
    IN_WINDOW1 = 6
    PILEUP = 7
    TOTAL_TICKS = 8


class ErrorFlag(IntFlag):
    """What went wrong during a run: Xsp3ErrFlag_..."""

    PLAYBACK = 0x1
    SCOPE = 0x2
    HIST_FRAMES_OVERRUN = 0x4
    HIST_FRAMES_MISSING = 0x8
    SCALAR_OVERRUN = 0x10
    SCALAR_MISSING = 0x20
    DIAG_HIST_OVERRUN = 0x40
    DESC_OVERRUN = 0x200
    TF_MISMATCH = 0x400
    DESC_SOF_EOF = 0x800
    DESC_COUNT = 0x1000
    SOCKET_ERROR = 0x2000
    CIRC_BUFF_OVERRUN = 0x10000
    DESC_OVERRUN_SCALARS = 0x20000
    TF_MISMATCH_SCALARS = 0x40000
    DESC_SOF_EOF_SCALARS = 0x80000
    DESC_COUNT_SCALARS = 0x100000
    SOCKET_ERROR_SCALARS = 0x200000
    CIRC_BUFF_OVERRUN_SCALARS = 0x1000000


LOSSES = (
    ErrorFlag.HIST_FRAMES_OVERRUN
    | ErrorFlag.HIST_FRAMES_MISSING
    | ErrorFlag.SCALAR_OVERRUN
    | ErrorFlag.SCALAR_MISSING
    | ErrorFlag.DESC_OVERRUN
    | ErrorFlag.TF_MISMATCH
    | ErrorFlag.DESC_SOF_EOF
    | ErrorFlag.DESC_COUNT
    | ErrorFlag.SOCKET_ERROR
    | ErrorFlag.DESC_OVERRUN_SCALARS
    | ErrorFlag.TF_MISMATCH_SCALARS
    | ErrorFlag.DESC_SOF_EOF_SCALARS
    | ErrorFlag.DESC_COUNT_SCALARS
    | ErrorFlag.SOCKET_ERROR_SCALARS
)
"""Data on their way from the hardware got lost, so that counts of some frames may be too low."""


class DeadTimeFlags(IntFlag):
    """XSP3_DTC_..."""

    OMIT_CHANNEL = 1
    USE_GOOD_EVENT = 2


class SyncMode(IntEnum):
    """How boards are kept together: XSP3_SYNC_MODE..."""

    NONE = 0
    LEMO_RADIAL = 1
    LEMO_DAISYCHAIN = 2
    IDC = 3
    MIDPLANE = 4
    LEMO_DAISYCHAIN_TEE = 5


class Aux1Mode(IntEnum):
    """What the first auxiliary axis of a histogram shows."""

    NONE = 0
    RES_GRADE_MINDIV8 = 1
    RES_GRADE_THRES = 2
    RES_GRADE_LOG = 3
    RES_GRADE_TOP = 4
    RES_GRADE_BOT = 5
    RES_GRADE_MIN = 6
    PILEUP = 7
    RES_GRADE_LUT_SETUP = 8
    RES_GRADE_LUT_THRES = 9
    CSHR = 10
    CSHR_ENC = 11
    RES_GRADE_T6B4 = 12
    GOOD_GRADE = 15
    TIMESTAMPED = 100


class Aux2Mode(IntEnum):
    """What the second auxiliary axis of a histogram shows."""

    ADC = 0
    WIDTH = 1
    RST_START_ADC = 2
    NEB_RST_ADC = 3
    NEB_RST_RST_START_ADC = 4
    TIME_FROM_RST = 5
    NEB_RST_TIME_FROM_RST = 6
    NEB_RST_TIME_FROM_RST_X8 = 7


class ReadoutMode(IntFlag):
    """Xsp3mReadoutMode"""

    AUTO = 0
    SEND_SCALARS = 1
    SEND_HIST_FRAMES = 2
    SEND_HIST_LIST = 4
    PASSIVE = 256


class Dummy(IntEnum):
    """XspressDummy: a system without hardware, which only corrects dead time."""

    REAL = 0
    DUMMY3 = 1
    DUMMY3_V7 = 2
    DUMMY3_MINI = 3
    DUMMY4 = 4
