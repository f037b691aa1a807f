import time
from pathlib import Path
from engine.runs import Run
from pages.ui import controls
def test_zz(server, session, tiny, wait_for):
    long = tiny(**{"epochs": 3_000, "data.limit": 400})
    tab = session("Train", choices=controls.encode(long)).wait()
    for i in range(3): tab.ask(); tab.wait()
    t0=time.time()
    for i in range(5): tab.ask(); tab.wait()
    print("idle pages", (time.time()-t0)/5)
    tab.ask(run_name="a", start=True); tab.wait()
    wait_for(lambda: Run(server.runs/"a").records()[0])
    tab.ask(); tab.wait()
    print("busy", tab.timers, tab.charts)
    t0=time.time()
    for i in range(10): tab.tick(); tab.wait()
    print("tick", (time.time()-t0)/10, tab.charts)
    t0=time.time()
    for i in range(10): tab.ask(); tab.wait()
    print("page", (time.time()-t0)/10, tab.charts)
    Run(server.runs/"a").request("stop"); time.sleep(2)
