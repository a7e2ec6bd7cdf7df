import java.util.Arrays;
import java.util.concurrent.locks.LockSupport;

/** Updates: how long each takes to become visible, and how many a second are applied. */
final class Live {
  private static final int PROBE_ROWS = 1000;
  private final Peer peer;

  Live(Peer peer) {
    this.peer = peer;
  }

  void run() throws Exception {
    peer.ask("flow");
    probe();
    peer.ask("still");
    peer.ask("burst");
    peer.figures.put("applied_per_s", peer.number("updates") / awaitBurst());
  }

  void untilKilled() throws Exception {
    peer.ask("burst");
    awaitBurst();
    peer.ask("kill");
  }

  private double awaitBurst() {
    long burst = Long.parseLong(peer.job.get("burst"));
    String[] markers = peer.list("markers");
    long began = 0;
    while (true) {
      int begun = 0, ended = 0;
      for (String key : markers) {
        long serial = peer.serial(key);
        begun += serial == burst || serial == burst + 1 ? 1 : 0;
        ended += serial == burst + 1 ? 1 : 0;
      }
      if (began == 0 && begun > 0) {
        began = System.nanoTime();
      }
      if (ended == markers.length) {
        return (System.nanoTime() - began) / 1e9;
      }
      LockSupport.parkNanos(1_000_000);
    }
  }

  private void probe() {
    // Serials are times and grow from probe to probe: see probe in work_live.go.
    int rows = Math.min(PROBE_ROWS, peer.number("rows"));
    long[] took = new long[peer.number("probes")];
    long before = nanos();
    for (int n = 0, i = 0; n < took.length; ) {
      long serial = peer.serial(Peer.key(i));
      long now = nanos();
      if (serial <= before || serial > now) {
        LockSupport.parkNanos(100_000);
        continue;
      }
      took[n++] = now - serial;
      before = serial;
      i = (i + 1) % rows;
    }
    Arrays.sort(took);
    peer.figures.put("p50_ms", at(took, 0.5));
    peer.figures.put("p99_ms", at(took, 0.99));
    peer.figures.put("p999_ms", at(took, 0.999));
  }

  private static long nanos() {
    java.time.Instant now = java.time.Instant.now();
    return now.getEpochSecond() * 1_000_000_000L + now.getNano();
  }

  private static double at(long[] all, double q) {
    return all[Math.min(all.length - 1, (int) (q * all.length))] / 1e6;
  }
}
