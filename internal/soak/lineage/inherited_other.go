//go:build !unix

package lineage

func closeInheritedOnExec() {} // descriptors are not counted
