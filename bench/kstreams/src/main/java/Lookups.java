import java.util.SplittableRandom;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;

/** Lookups of one kind on some threads, for some seconds. */
final class Lookups {
  private static final int KEYS = 1_000_000;
  private final Peer peer;

  Lookups(Peer peer) {
    this.peer = peer;
  }

  void run() throws Exception {
    if (peer.number("rows") >= 100_000) {
      Thread.sleep(3000); // RocksDB rearranges its files
    }
    kinds(peer.list("kinds"), "");
    if (peer.list("beside").length > 0) {
      peer.ask("flow");
      kinds(peer.list("beside"), "live.");
      peer.ask("still");
    }
  }

  private void kinds(String[] kinds, String prefix) throws Exception {
    double seconds = Double.parseDouble(peer.job.get("seconds"));
    for (String kind : kinds) {
      boolean warm = false;
      String[] keys = keys(kind, KEYS);
      for (String threads : peer.list("threads")) {
        int n = Integer.parseInt(threads);
        if (!warm) {
          measure(kind, keys, n, Math.max(1, seconds)); // the compiler warms up, too
          warm = true;
        }
        peer.figures.put(prefix + kind + "." + n + ".ns", measure(kind, keys, n, seconds));
      }
    }
  }

  /** The wall time, divided by the lookups of all threads, in ns. */
  double measure(String kind, String[] keys, int threads, double seconds) throws Exception {
    LongAdder count = new LongAdder();
    AtomicReference<Exception> wrong = new AtomicReference<>();
    Thread[] all = new Thread[threads];
    long began = System.nanoTime(), until = began + (long) (seconds * 1e9);
    for (int i = 0; i < threads; i++) {
      all[i] = new Thread(() -> {
        int at = ThreadLocalRandom.current().nextInt(keys.length);
        while (System.nanoTime() < until) {
          for (int k = 0; k < 64; k++) {
            boolean found = peer.table.get(keys[at]) != null;
            if (found == kind.equals("absent")) {
              wrong.set(new IllegalStateException("key " + keys[at] + ": found is " + found));
              return;
            }
            at = (at + 1) % keys.length;
          }
          count.add(64);
        }
      });
      all[i].start();
    }
    for (Thread t : all) {
      t.join();
    }
    if (wrong.get() != null) {
      throw wrong.get();
    }
    return (System.nanoTime() - began) / (double) Math.max(1, count.sum());
  }

  String[] keys(String kind, int n) {
    int rows = peer.number("rows");
    SplittableRandom random = new SplittableRandom(10);
    if (kind.equals("hot")) {
      return new String[] {Peer.key(rows / 2)};
    }
    Zipf zipf = new Zipf(random, rows);
    String[] out = new String[n];
    for (int i = 0; i < n; i++) {
      out[i] = switch (kind) {
        case "zipf" -> Peer.key(zipf.next());
        case "absent" -> Peer.key(random.nextInt(rows)) + "x";
        default -> Peer.key(random.nextInt(rows));
      };
    }
    return out;
  }

  /** Ranks with probability proportional to (1 + rank)^-1.1, by rejection-inversion (Hörmann, Derflinger 1996). */
  private static final class Zipf {
    private static final double Q = 1.1;
    private final SplittableRandom random;
    private final int rows;
    private final double low, range, sure;

    Zipf(SplittableRandom random, int rows) {
      this.random = random;
      this.rows = rows;
      low = h(rows - 0.5);
      range = h(0.5) - 1 - low;
      sure = 1 - inverse(h(1.5) - Math.pow(2, -Q));
    }

    private static double h(double x) {
      return Math.pow(1 + x, 1 - Q) / (1 - Q);
    }

    private static double inverse(double x) {
      return Math.pow((1 - Q) * x, 1 / (1 - Q)) - 1;
    }

    int next() {
      while (true) {
        double u = low + random.nextDouble() * range;
        double x = inverse(u);
        double rank = Math.floor(x + 0.5);
        if (rank - x <= sure || u >= h(rank + 0.5) - Math.pow(rank + 1, -Q)) {
          return (int) ((long) rank * 2_147_483_647L % rows);
        }
      }
    }
  }
}
