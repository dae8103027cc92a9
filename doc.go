// Package grace
package grace
