"""placeholder"""
def write_report(plan, store, out, *, title):
    return None
