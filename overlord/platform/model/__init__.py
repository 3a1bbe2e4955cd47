"""
The model: what the platform's records mean, without a store, a clock or a machine.

    JSON of a user  -> reading  -> record      types, names, limits, rules, references: all at once
    record          -> codec    -> bytes       for the store, under keys.key_of(record)
    bytes           -> codec    -> record      older schemas are lifted, broken records are named

    group, appid, spec, version, template, host     what there is to build with
    cluster, secrets, front_end_port                what was ordered
    topology, instance                              what became of it
    job (work, states), event                       what is done, and what happened

    template + version + values -> rendering        a server's file or arguments
    topology -> nodes_conf                          what a node of a Redis Cluster starts with
    resources, slots, port_range, release, identity the arithmetic of all that

How to change a record's class stands in `record.Record`; docs/records.md is made from the classes.
"""
