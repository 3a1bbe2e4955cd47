from overlord.proxy.flow.slot_flow cimport SlotFlow

cdef class ClusterFlow(SlotFlow):
    pass
