//go:build !unix

package lineage

func keepInherited() {} // descriptors are not counted
