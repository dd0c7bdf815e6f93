"""What the documentation says of a command: its address and how its time grows."""

_TABLE = """
O(1): GET SETNX GETDEL GETEX INCR INCRBY DECR DECRBY HSET HGET HDEL HMGET HEXISTS HINCRBY HLEN EXISTS EXPIRE PEXPIRE TTL PTTL
PERSIST TYPE TIME PING ZCARD ZSCORE XADD XLEN XDEL XACK LLEN LPUSH RPUSH LPOP SADD SCARD SISMEMBER PFADD PFCOUNT SETBIT
GETBIT SET DEL UNLINK RENAME EVALSHA EVALSHA_RO CLIENT PUBLISH XAUTOCLAIM XREADGROUP HSCAN SCAN
O(log N): ZADD ZINCRBY ZRANK ZREVRANK ZCOUNT ZREM ZLEXCOUNT
O(log N + M): ZRANGE ZREVRANGE ZRANGEBYSCORE ZREMRANGEBYSCORE ZREMRANGEBYRANK
O(N): MGET MSET PFMERGE BITOP HGETALL HKEYS LRANGE LTRIM SMEMBERS ZUNIONSTORE ZUNION
XRANGE XREVRANGE GETRANGE COPY BITCOUNT INFO XTRIM MEMORY"""
COMPLEXITY = {
    name: growth
    for line in _TABLE.replace("\n", " ").replace(" O(", "\nO(").strip().splitlines()
    for growth, _, names in [line.partition(": ")]
    for name in names.split()
}
# Their time is that of something else than the command.
SPECIAL = {"EVALSHA": "", "EVALSHA_RO": "", "CLIENT": "", "MEMORY": "", "INFO": ""}


def growth(name: str) -> str:
    """How its time grows; empty where that depends on what is asked."""
    return SPECIAL.get(name, COMPLEXITY.get(name, ""))


def address(name: str) -> str:
    """Its page in the documentation."""
    return f"https://redis.io/docs/latest/commands/{name.lower().replace(' ', '-')}/"
