// Package unwrap looks through the wrappers that services put around listeners and connections.
package unwrap

import "reflect"

// Max bounds the number of wrappers around one value that are looked through.
const Max = 16

// Field returns what a wrapper holds in a field with a given name, which it has if it embeds an
// interface with that name. It returns the zero value if there is none.
func Field[T any](wrapper any, name string) (inner T) {
	v := reflect.Indirect(reflect.ValueOf(wrapper))
	if v.Kind() != reflect.Struct {
		return inner
	}
	field, ok := v.Type().FieldByName(name)
	if !ok || len(field.Index) > 1 {
		return inner
	}
	inner, _ = reflect.TypeAssert[T](v.FieldByIndex(field.Index))
	return inner
}

// Only returns the value of a type that a wrapper holds in a field, exported or not. It returns the
// zero value if there is none, or more than one: then nobody knows which one it wraps.
func Only[T any](wrapper any) (inner T) {
	found := 0
	for _, field := range fields(wrapper) {
		if field.Type().Implements(reflect.TypeFor[T]()) && !field.IsZero() {
			inner, _ = reflect.TypeAssert[T](readable(field))
			found++
		}
	}
	if found != 1 {
		return *new(T)
	}
	return inner
}

// fields returns the fields of a struct, or of that behind a pointer.
func fields(wrapper any) (all []reflect.Value) {
	v := reflect.Indirect(reflect.ValueOf(wrapper))
	if v.Kind() != reflect.Struct {
		return nil
	}
	if !v.CanAddr() {
		addressable := reflect.New(v.Type()).Elem()
		addressable.Set(v)
		v = addressable
	}
	for _, field := range v.Fields() {
		all = append(all, field)
	}
	return all
}

// readable returns a field that is perhaps not exported.
func readable(field reflect.Value) reflect.Value {
	return reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem()
}
