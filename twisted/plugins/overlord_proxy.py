from twisted.application.service import ServiceMaker

overlord_proxy = ServiceMaker(
    "Overlord proxy",
    "overlord.taps.proxy",
    "A proxy that makes many Redis servers look like one.",
    "overlord-proxy",
)
