package verify

import (
	"crypto/sha256"
	"sync"
)

// cache remembers what was verified, by hash, and forgets the oldest. Only successes are kept: chains and revocation lists that a host makes up push none
// out, for want of a pinned root's signature.
type cache[V any] struct {
	mu    sync.RWMutex
	byKey map[[sha256.Size]byte]V
	ring  [][sha256.Size]byte
	next  int
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{byKey: make(map[[sha256.Size]byte]V), ring: make([][sha256.Size]byte, 0, size)}
}

func (c *cache[V]) get(key [sha256.Size]byte) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.byKey[key]
	return v, ok
}

func (c *cache[V]) put(key [sha256.Size]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok {
		return
	}
	if len(c.ring) < cap(c.ring) {
		c.ring = append(c.ring, key)
	} else {
		delete(c.byKey, c.ring[c.next])
		c.ring[c.next] = key
		c.next = (c.next + 1) % len(c.ring)
	}
	c.byKey[key] = v
}
