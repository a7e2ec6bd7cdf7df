package globaltable

const killEnv = "ENRICH_TABLE_KILL_TEST"

func killedReplica() int { return 0 }
