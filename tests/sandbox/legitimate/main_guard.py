# /// program
# prints = "yes"
# ///
def main():
    print("yes")


if __name__ == "__main__":
    main()
