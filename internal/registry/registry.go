// Package registry keeps the state that an adapter has for each Manager, or for each server of one.
package registry

import "sync"

// Registry holds one value for each key, until the key is forgotten. The zero value is empty and
// ready to use. Its methods can be called by several goroutines at once.
type Registry[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V
}

// Of returns the value of the key. If there is none, it calls create, and keeps the new value if
// create says so. Nobody else gets or creates a value meanwhile; create must not use the Registry.
func (r *Registry[K, V]) Of(key K, create func() (v V, keep bool)) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.values[key]; ok {
		return v
	}
	v, keep := create()
	if keep {
		if r.values == nil {
			r.values = make(map[K]V)
		}
		r.values[key] = v
	}
	return v
}

// Forget removes the value of the key, if there is one.
func (r *Registry[K, V]) Forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.values, key)
}

// Len returns how many values the Registry holds.
func (r *Registry[K, V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.values)
}
