package schema

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// Memory that publishers' schemas may take, as estimated when they are parsed. Streams that are open keep theirs when
// the cache drops it.
const (
	schemaBudget = 64 << 20  // one
	cacheBudget  = 128 << 20 // all in the cache
)

// schemaCache keeps parsed schemas by their content, so that streams and calls with the same bytes share one. The
// zero value is empty. It may be used concurrently.
type schemaCache struct {
	parsing sync.Mutex // held while a schema is parsed, which takes many times its size: one at a time

	mu      sync.Mutex
	entries map[[sha256.Size]byte]*list.Element
	recent  list.List // of *cachedSchema, the most recently used in front
	cost    int
}

type cachedSchema struct {
	key   [sha256.Size]byte
	known *catalog
	cost  int
}

// get returns the types of a schema. The bytes may be changed afterwards.
func (c *schemaCache) get(schema []byte) (*catalog, error) {
	key := sha256.Sum256(schema)
	if known := c.lookup(key); known != nil {
		return known, nil
	}
	c.parsing.Lock()
	defer c.parsing.Unlock()
	if known := c.lookup(key); known != nil {
		return known, nil // parsed meanwhile
	}
	parsed, err := parse(schema, schemaBudget)
	if err != nil {
		return nil, err
	}
	parsed.protos = nil // only needed to compare files
	known := newCatalog([]*set{parsed}, parsed.index)
	c.add(&cachedSchema{key: key, known: known, cost: parsed.cost})
	return known, nil
}

func (c *schemaCache) lookup(key [sha256.Size]byte) *catalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[key]
	if element == nil {
		return nil
	}
	c.recent.MoveToFront(element)
	return element.Value.(*cachedSchema).known //nolint:forcetypeassert // the list holds nothing else
}

func (c *schemaCache) add(entry *cachedSchema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[[sha256.Size]byte]*list.Element{}
	}
	c.entries[entry.key] = c.recent.PushFront(entry)
	c.cost += entry.cost
	for c.cost > cacheBudget {
		last := c.recent.Back()
		dropped := c.recent.Remove(last).(*cachedSchema) //nolint:forcetypeassert // the list holds nothing else
		delete(c.entries, dropped.key)
		c.cost -= dropped.cost
	}
}
