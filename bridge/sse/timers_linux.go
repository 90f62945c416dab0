package sse

// timers is a heap (container/heap) of the connections of a loop, by the time at which it has to look at them.
type timers []*conn //nolint:recvcheck // heap.Interface asks for both

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due < t[j].due }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = int32(i), int32(j) //nolint:gosec // as many as there are descriptors
}

// Push is part of heap.Interface.
func (t *timers) Push(x any) {
	c := x.(*conn)
	c.timer = int32(len(*t)) //nolint:gosec // likewise
	*t = append(*t, c)
}

// Pop is part of heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	c := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	return c
}
