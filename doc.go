// Package grace lets a service replace itself by a new process without losing a connection.
//
// The old process hands its listening sockets to the new one, the new one says when it is ready, and only then does the old
// one stop accepting, finish its work and leave. From the first bind to the last exit the sockets are open in some process, so
// no connection is refused; and until the new process is ready, the old one serves as if nothing happened, so a release that
// does not come up is a failed [Manager.Upgrade] and no outage.
//
// # A service
//
//	m, err := grace.New(grace.WithLogger(slog.Default())) // at the start of main
//	ln, err := m.Listen(ctx, "tcp", ":8080")              // binds, or takes over what the previous process had
//	m.Append(grace.Hook{OnDrain: func(ctx context.Context) error {
//		return finishWork(ctx, ln) // close the listener, wait for what is in progress
//	}})
//	go serve(ln)
//	return m.Run(ctx) // SIGHUP upgrades, SIGTERM ends; nil when all is drained
//
// The program examples/echo is the whole of it for a TCP server, and examples/demo for an HTTP server under load. A service
// that has its own main loop calls [Manager.Ready], [Manager.Upgrade] and [Manager.Shutdown] itself, and looks at
// [Manager.Done] and [Manager.Wait], instead of [Manager.Run].
//
// # Generations
//
// A generation is the life of one process. One of them serves, at most one successor starts, and older ones drain:
//
//	starting --Ready--> serving --Upgrade--> upgrading --successor ready--> draining --> done
//	                       ^                     |
//	                       +---- it failed ------+
//
// Whichever process crashes, hangs or is cancelled, exactly one generation ends up serving:
//
//   - The successor exits, fails or is not ready in time: it is killed, Upgrade returns an [*UpgradeError], and the old process
//     serves on with the same listeners. It may upgrade again.
//   - The context of Upgrade ends: likewise.
//   - The old process dies before it has committed the handoff: the successor takes over as soon as it is ready.
//   - The successor dies after it was told to serve, before it has acknowledged that: the old process serves on.
//
// # Sockets
//
// The Listen functions look for an inherited socket first, and bind a new one where none is what is asked for; see
// [Manager.Listen] for what matches. So a program calls them in the same way whether it is the first process, a successor, or
// was started by socket activation (sd_listen_fds(3), LISTEN_FDS). It should do so before Ready: what nobody has asked for by
// then is closed, since its clients would wait for ever.
//
// What the program closes is not handed over. What it binds while an upgrade is under way waits for the outcome.
//
// In a successor, Accept of a listener from Listen and the reads of a connection from ListenPacket wait until the handoff is
// committed. Servers can therefore start before the process is ready, and a start-up that fails later has taken no
// connection with it. For a moment after the commit both processes accept; each finishes what it has accepted.
//
// A unix socket keeps its path for as long as some generation serves it. The path is removed at the end by the generation that
// ends the service, never if a service manager has made it, and not if another socket has taken it meanwhile. A path that a
// crashed process has left, on which nobody answers, is replaced.
//
// # The successor
//
// It executes the same path, with the arguments, directory and environment that the first process had in [New]. The path is
// resolved anew each time: a file that was replaced by renaming another one over it, or a symbolic link that was turned, is
// what starts. See [WithExecutable], [WithArgs], [WithDir] and [WithEnv]. It shares the standard streams.
//
// It gets exactly the sockets, and one end of a connection to the old process. New reads the variables that announce them
// (LISTEN_FDS, LISTEN_FDNAMES, GRACE_LINK), removes them, and makes the descriptors close-on-exec, so that no other child of
// the process can take them for its own. The flags of the shared sockets are never touched: os/exec would clear O_NONBLOCK in
// both processes (golang.org/issue/29277).
//
// # Hooks
//
// See [Hook] for the moments at which an application can act: release what only one process may hold before an upgrade
// (OnUpgrade), take it back after a failed one (OnUpgradeFailed), check that it can serve (OnReady), finish its work
// (OnDrain), use what the old process has freed at its end (OnParentExit).
//
// # Observing
//
// [WithLogger] logs what happens to log/slog, with the generation, the pid and the role of the process, and an id of the
// handoff that is the same in both. [WithObserver] gives the same as typed events.
//
// # Signals
//
// [New] claims the signals for Run, so that one that comes early is not fatal: SIGHUP and SIGUSR2 for upgrades, SIGTERM and
// SIGINT for the end. A second one of the latter forces the exit. A program that does not call Run switches them off with
// [WithUpgradeSignals] and [WithShutdownSignals].
//
// # Coming from facebookgo/grace
//
// A running program of facebookgo/grace can be replaced by one of this package, and the other way round, as in any other upgrade:
// install the program, and send SIGUSR2. No connection is refused.
//
// A parent of facebookgo/grace has passed its sockets in LISTEN_FDS, without a LISTEN_PID of ours, to its own command. This process then is
// of generation 2, its Accept waits for Ready like that of any successor, and its Ready sends SIGTERM to the parent, which makes that
// drain; OnParentKill can object. It is ended if it stays longer than this process's own drain timeout. If Ready fails, the parent is
// not signalled, and serves on. (Where the command of another process cannot be seen, on systems other than Linux, any parent that
// passes sockets without LISTEN_PID is signalled, unless it is PID 1; facebookgo/grace does so everywhere.) The path of a unix socket
// is removed by the process of facebookgo/grace that has bound it; it is restored within a few milliseconds.
//
// A successor of facebookgo/grace sends SIGTERM to this process when it serves. While an upgrade waits for a successor, SIGTERM is
// that word, and not the end of the service, if the successor has taken sockets in a way in which none of this package can: before
// it has read what this process sends it at first. That can be seen on Linux alone, and only where the files of /proc/PID/fd can be
// read; everywhere else SIGTERM ends the service. The signal has to be left to this package: SIGTERM is one of
// [WithShutdownSignals], whether or not Run is called. A program that catches SIGTERM by itself cannot tell from whom it comes:
// package os/signal does not say. Between the moment at which the successor takes its sockets and the one at which it signals, an
// operator's SIGTERM is taken for the successor's, and ends this process alone. There is no probation and no state for such a
// successor, and the PID file is written on its behalf.
//
// # Limits
//
// Linux, macOS and the BSDs can upgrade. On Windows, Listen and Run work, and Upgrade returns an error that matches
// [errors.ErrUnsupported]; so it does in a process that is PID 1, whose end would be that of its container.
//
// The typed Listen functions return the standard library's own types, which accept at once in a successor, and lose the
// keep-alive of their [net.ListenConfig] when they are inherited. Two processes that read one UDP socket take each other's
// packets: that is harmless for protocols of one question and one answer, and not for QUIC.
//
// A listener that was opened with Multipath TCP, the default of package net, stays what it is over upgrades; so does one
// without.
//
// A successor is a child of the old process. Service managers that supervise a main process have to be told of the new one:
// those that follow a PID file are, by [WithPIDFile]. Under systemd, socket activation works, and an upgrade does not yet tell
// systemd of the new main process.
package grace
